"""What the package promises about the plain form of an op: short, and each line of a pullback says what it inverts."""

import ast
import inspect
import textwrap

import pytest

import tinygrad_gpt.ops  # noqa: F401 - fills the registry
from tinygrad_gpt.engine import OPS

NAMES = sorted(OPS)


def source(op):
    """The lines of an op's plain function and its syntax tree."""
    text = textwrap.dedent(inspect.getsource(op.function))
    return text.splitlines(), ast.parse(text).body[0]


def pullbacks(tree):
    return [node for node in tree.body if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize("name", NAMES)
def test_forward_and_gradient_fit_one_screen(name):
    _, tree = source(OPS[name])
    assert tree.end_lineno - tree.lineno + 1 <= 40, "from def to return, with the docstring"


@pytest.mark.parametrize("name", NAMES)
def test_each_line_of_a_pullback_says_which_forward_line_it_inverts(name):
    lines, tree = source(OPS[name])
    assert pullbacks(tree)
    for pullback in pullbacks(tree):
        for statement in ast.walk(pullback):
            if isinstance(statement, (ast.Assign, ast.Return)):
                comment = lines[statement.end_lineno - 1].partition("  # ")[2]
                assert "=" in comment, ast.unparse(statement)


@pytest.mark.parametrize("name", NAMES)
def test_pullbacks_are_named_after_their_arguments(name):
    op = OPS[name]
    names = [pullback.name for pullback in pullbacks(source(op)[1])]
    assert names == ["grads"] or set(names) <= {f"grad_{argument}" for argument in op.arguments}
