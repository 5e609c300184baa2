"""What people type for PyTorch, run with PyTorch and with this package: the same, or a row of docs/pytorch.md.

Each file ``snippets_*.py`` in this folder has a list ``SAME`` of snippets, and a list ``DIFFERENT`` of pairs (snippet,
first cell of its row in docs/pytorch.md). The last line of a snippet is an expression; its value is compared: numbers,
dtype, shape, ``requires_grad``, or that it is refused. A snippet sees ``torch``, ``nn``, ``F`` and ``np``.
"""

import ast
import re
import runpy
import warnings
from pathlib import Path

import numpy as np
import pytest

import tinygrad_gpt

HERE = Path(__file__).parent
FILES = [runpy.run_path(str(path)) for path in sorted(HERE.glob("snippets_*.py"))]
SAME = [snippet for file in FILES for snippet in file["SAME"]]
DIFFERENT = [pair for file in FILES for pair in file.get("DIFFERENT", [])]
PAGE = (HERE.parents[1] / "docs" / "pytorch.md").read_text(encoding="utf-8")
ROWS = {cell.strip() for cell in re.findall(r"^\|([^|]+)\|", PAGE, flags=re.MULTILINE)} - {"what is typed", "---"}


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="torch, the oracle, is not installed")


def outcome(snippet, torch):
    """What the last line of a snippet gives, as plain Python; "refused" if it raises an error."""
    names = {"torch": torch, "nn": torch.nn, "F": torch.nn.functional, "np": np}
    *lines, last = ast.parse(snippet).body
    torch.manual_seed(123)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch warns of what is deprecated
            exec(compile(ast.Module(lines, []), "<snippet>", "exec"), names)
            return plain(eval(compile(ast.Expression(last.value), "<snippet>", "eval"), names))
    except Exception:
        return "refused"


def plain(value):
    """Tensors as their dtype, shape, place on the tape and numbers."""
    if hasattr(value, "requires_grad") and hasattr(value, "detach"):
        array = np.asarray(value.detach().numpy())
        return "tensor", array.dtype.name, array.shape, bool(value.requires_grad), array.tolist()
    if isinstance(value, np.ndarray):
        return "array", value.dtype.name, value.shape, value.tolist()
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    if isinstance(value, (np.dtype, type)) or type(value).__name__ in ("dtype", "device"):
        return str(value).removeprefix("torch.")
    return value


def equal(a, b):
    """Whether two outcomes agree, numbers to 1e-6."""
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) and isinstance(b, float):
        return bool(np.isclose(a, b, rtol=1e-5, atol=1e-6, equal_nan=True))
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("snippet", SAME)
def test_the_same_as_pytorch(snippet, torch):
    ours, theirs = outcome(snippet, tinygrad_gpt), outcome(snippet, torch)
    assert equal(ours, theirs), f"ours {ours}, PyTorch {theirs}"


@pytest.mark.parametrize(("snippet", "row"), DIFFERENT)
def test_a_difference_is_a_row_of_the_page(snippet, row, torch):
    assert row in ROWS
    assert not equal(outcome(snippet, tinygrad_gpt), outcome(snippet, torch))


def test_each_row_of_the_page_has_a_snippet():
    assert {row for _, row in DIFFERENT} == ROWS
