"""The pictures of docs/ are those that the code draws, and show what they promise."""

import importlib.util
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
SPEC = importlib.util.spec_from_file_location("draw", DOCS / "draw.py")
draw = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(draw)


def words(picture):
    """The lines of text of a picture; parsing it shows that it is well-formed XML."""
    return [element.text for element in ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("name", draw.PICTURES)
def test_a_picture_is_up_to_date(name):
    assert (DOCS / name).read_text(encoding="utf-8") == draw.PICTURES[name](), "run `python docs/draw.py`"


def test_the_package_shows_every_unit_of_the_table():
    package = DOCS.parent / "tinygrad_gpt"
    units = {path.name + "/" * path.is_dir() for path in package.iterdir()
             if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert units <= set(words(draw.package()))


def test_the_step_shows_the_twelve_ops_of_a_block():
    ops, _ = draw.first_block(draw.step())
    assert [node.op for node in ops] == ["layer_norm", "linear", "self_attention", "linear", "dropout", "add",
                                         "layer_norm", "linear", "bias_gelu", "linear", "dropout", "add"]
    shown = words(draw.training_step())
    assert all(node.op in shown for node in ops)
    assert {"ln_1.weight", "attn.c_attn.bias", "mlp.c_fc.weight", "mlp.c_proj.bias"} <= set(shown)


def test_check_tells_a_stale_picture(monkeypatch, tmp_path, capsys):
    (tmp_path / "docs").mkdir()
    for name in ("architecture.md", *draw.PICTURES):
        (tmp_path / "docs" / name).write_bytes((DOCS / name).read_bytes())
    monkeypatch.setattr(draw, "REPOSITORY", tmp_path)
    assert draw.main(["--check"]) == 0
    page = tmp_path / "docs" / "architecture.md"
    page.write_text(page.read_text(encoding="utf-8").replace("`runs/`", "`trainings/`"), encoding="utf-8")
    assert draw.main(["--check"]) == 1
    assert "stale picture (docs/package.svg)" in capsys.readouterr().err
    assert draw.main([]) == 0
    assert draw.main(["--check"]) == 0
