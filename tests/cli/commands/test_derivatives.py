"""The command `derivatives`: the page, its check, and single ops for the blackboard."""

import pytest

from tinygrad_gpt.cli import main
from tinygrad_gpt.cli.commands import derivatives
from tinygrad_gpt.study.blackboard import blackboard
from tinygrad_gpt.study.derivatives import page


def test_the_page_is_written_and_then_up_to_date(tmp_path, capsys):
    path = tmp_path / "table.md"
    assert main(["derivatives", "--output", str(path)]) == 0
    assert capsys.readouterr().out == f"wrote {path}\n"
    assert path.read_text(encoding="utf-8") == page()
    assert main(["derivatives", "--check", "--output", str(path)]) == 0
    assert capsys.readouterr().out == f"{path} is up to date\n"


def test_a_changed_page_is_stale(tmp_path, capsys):
    path = tmp_path / "table.md"
    path.write_text(page().replace("ȳ ⊙ y", "ȳ"), encoding="utf-8")
    before = path.read_bytes()
    assert main(["derivatives", "--check", "--output", str(path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (f"error: stale page ({path}): the ops say something else; "
                            "run `python cli.py derivatives`\n")
    assert path.read_bytes() == before


def test_a_missing_page_is_an_expected_failure(tmp_path, capsys):
    assert main(["derivatives", "--check", "--output", str(tmp_path / "absent.md")]) == 1
    assert "file not found" in capsys.readouterr().err


def test_by_default_the_pages_are_those_of_the_checkout(capsys, monkeypatch, tmp_path):
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(derivatives, "__file__", str(tmp_path / "tinygrad_gpt" / "cli" / "commands" / "derivatives.py"))
    monkeypatch.chdir(tmp_path)
    assert main(["derivatives"]) == 0
    assert capsys.readouterr().out == "wrote docs/derivatives.md\nwrote docs/gradients.md\n"
    assert (tmp_path / "docs" / "derivatives.md").read_text(encoding="utf-8") == page()
    assert (tmp_path / "docs" / "gradients.md").read_text(encoding="utf-8") == blackboard()
    (tmp_path / "docs" / "gradients.md").write_text("old", encoding="utf-8")
    assert main(["derivatives", "--check"]) == 1
    assert "error: stale page (docs/gradients.md): " in capsys.readouterr().err


def test_without_a_checkout_a_file_must_be_named(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(derivatives, "__file__", str(tmp_path / "tinygrad_gpt" / "cli" / "commands" / "derivatives.py"))
    assert main(["derivatives"]) == 2
    assert "this is not a checkout; name a page with --output" in capsys.readouterr().err


def test_a_named_op_is_shown_with_its_code(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["derivatives", "gelu", "exp"]) == 0
    out = capsys.readouterr().out
    for part in ("gelu  (tinygrad_gpt/ops/activation.py:", "Gradient: x̄ = ȳ ⊙ y", "def grad_x(g):", "def gelu(x):",
                 "exp  (tinygrad_gpt/ops/elementwise.py:"):
        assert part in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", [["--check"], ["--output", "x.md"]])
def test_options_of_the_page_do_not_go_with_names(option, capsys):
    assert main(["derivatives", "gelu", *option]) == 2
    assert "--output and --check are for the whole page; name no op" in capsys.readouterr().err
