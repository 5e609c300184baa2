"""What is installed: the names a program imports, and the contents of the wheel."""

import email
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import tinygrad_gpt

REPOSITORY = Path(__file__).resolve().parents[1]


def test_every_public_name_can_be_imported():
    for name in tinygrad_gpt.__all__:
        assert getattr(tinygrad_gpt, name) is not None, name
    assert set(tinygrad_gpt.__all__) <= set(dir(tinygrad_gpt))


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(AttributeError, match=r"has no attribute 'Tensr'; it has .*Tensor"):
        tinygrad_gpt.Tensr  # noqa: B018


def in_fresh_python(code):
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.stdout


def test_importing_the_package_imports_nothing_else():
    assert in_fresh_python("import sys, tinygrad_gpt; print([m for m in sys.modules if m.startswith('tinygrad_gpt.')])"
                           ) == "[]\n"


def test_a_tensor_comes_with_its_ops():
    code = "from tinygrad_gpt import Tensor; x = Tensor([3.0], requires_grad=True); (x * x).sum().backward()"
    assert "6." in in_fresh_python(f"{code}; print(x.grad)")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from the checkout without reaching for the network."""
    pytest.importorskip("hatchling", reason="the build tool is not installed: pip install -e '.[dev]'")
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
                   cwd=REPOSITORY, check=True, capture_output=True, timeout=120)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_the_wheel_holds_the_package_and_the_weights(wheel):
    names = set(wheel.namelist())
    package = REPOSITORY / "tinygrad_gpt"
    kinds = (".py", ".cu", ".cuh", ".xz", ".html", ".css", ".js")
    expected = {str(p.relative_to(REPOSITORY)) for p in package.rglob("*") if p.suffix in kinds}
    expected |= {f"tinygrad_gpt/_weights/{p.name}" for p in (REPOSITORY / "weights").iterdir()}
    assert {n for n in names if ".dist-info/" not in n} == expected
    assert "tinygrad_gpt/text/gpt2_merges.txt.xz" in names
    assert [name for name in names if name.endswith("/licenses/NOTICE")]  # the licence of GPT-2's vocabulary


def test_the_wheel_says_its_version_and_its_command(wheel):
    (info,) = {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    metadata = email.message_from_bytes(wheel.read(f"{info}/METADATA"))
    assert metadata["Name"] == "tinygrad-gpt"
    assert metadata["Version"] == tinygrad_gpt.__version__
    assert b"tinygrad-gpt = tinygrad_gpt.cli:main" in wheel.read(f"{info}/entry_points.txt")


def test_ops_and_methods_are_functions_of_the_package():
    x = tinygrad_gpt.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert tinygrad_gpt.exp is tinygrad_gpt.ops.exp
    assert tinygrad_gpt.cat([x, x], dim=1).tolist() == [[1.0, 2.0, 1.0, 2.0], [3.0, 4.0, 3.0, 4.0]]
    assert tinygrad_gpt.permute(x, (1, 0)).tolist() == tinygrad_gpt.swapaxes(x, 0, 1).tolist() == x.T.tolist()
    with pytest.raises(AttributeError, match="has no attribute 'shape'"):
        tinygrad_gpt.shape  # noqa: B018
