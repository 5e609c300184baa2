"""Every gradient of GPT-2 on one page: it is short, current, complete, runs as it is printed, and is right."""

from pathlib import Path

import numpy as np
import pytest

from tinygrad_gpt.backend import get_backend
from tinygrad_gpt.engine import OPS, Op
from tinygrad_gpt.recipes.text_step import tiny_step
from tinygrad_gpt.study.blackboard import GPT2_OPS, blackboard, gradients_code
from tinygrad_gpt.study.calls import samples
from tinygrad_gpt.study.gradcheck import Draw
from tinygrad_gpt.study.sweep import check

PAGE = Path(__file__).resolve().parents[2] / "docs" / "gradients.md"


@pytest.fixture(scope="module")
def functions():
    """The functions of the page, run as a program."""
    namespace = {}
    exec(gradients_code(), namespace)
    return namespace


def test_the_page_is_current_and_fits_a_printed_page():
    text = PAGE.read_text(encoding="utf-8")
    assert text == blackboard(), "run `python cli.py derivatives`"
    assert len(text.splitlines()) < 150
    assert max(map(len, text.splitlines())) <= 120


def test_the_page_has_all_ops_of_a_step_of_gpt2():
    assert {node.label for node in tiny_step().trace().ops} == set(GPT2_OPS)


@pytest.mark.parametrize("name", GPT2_OPS)
def test_a_function_of_the_page_passes_the_sweep_and_gives_the_values_of_the_op(functions, name):
    registered = OPS[name]
    printed = Op(functions[registered.function.__name__], samples=registered.samples, broadcasts=registered.broadcasts)
    assert check(printed) == []
    xp = get_backend("numpy").namespace
    for arguments, settings in samples(registered):
        (y, pullbacks), (expected, pullbacks_expected) = (f(xp, *arguments, **settings) for f in (
            functions[registered.function.__name__], registered.function))
        g = Draw(7).normal(*y.shape)
        assert np.array_equal(y, expected)
        for ours, plain in zip(_gradients(pullbacks, g), _gradients(pullbacks_expected, g), strict=True):
            assert np.array_equal(ours, plain)


def _gradients(pullbacks, g):
    parts = pullbacks(g) if callable(pullbacks) else [pullback and pullback(g) for pullback in pullbacks]
    return [part for part in parts if part is not None]
