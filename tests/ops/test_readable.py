"""What the package promises about the plain form of an op: short, and each line of a pullback says what it inverts."""

import ast
import inspect
import textwrap

import pytest

import tinygrad_gpt.ops  # noqa: F401 - fills the registry
from tinygrad_gpt.engine import OPS
from tinygrad_gpt.study.show import called_functions

NAMES = sorted(OPS)
IN_PLACE = {"at", "copyto", "fill", "partition", "put", "resize", "setflags", "sort"}


def source(op):
    """The lines of an op's plain function and its syntax tree."""
    text = textwrap.dedent(inspect.getsource(op.function))
    return text.splitlines(), ast.parse(text).body[0]


def pullbacks(tree):
    return [node for node in tree.body if isinstance(node, ast.FunctionDef)]


def in_place_changes(tree):
    """The statements and calls that write to an array: augmented and item assignments, `out=`, methods that do."""
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, (ast.Assign, ast.Delete)) else ()
        is_call = isinstance(node, ast.Call)
        if (isinstance(node, ast.AugAssign) or any(not isinstance(part, (ast.Name, ast.Tuple)) for part in targets)
                or (is_call and any(keyword.arg == "out" for keyword in node.keywords))
                or (is_call and isinstance(node.func, ast.Attribute) and node.func.attr in IN_PLACE)):
            yield ast.unparse(node)


@pytest.mark.parametrize("name", NAMES)
def test_a_plain_form_changes_nothing_in_place(name):
    """Neither the function nor those of the package that it calls."""
    for function in (OPS[name].function, *called_functions(OPS[name].function)):
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        assert list(in_place_changes(tree)) == [], function.__name__


@pytest.mark.parametrize("line", ["y += b", "y[0] = b", "y[0] -= b", "xp.tanh(y, out=y)", "y.sort()", "y.flags.x = 1",
                                  "xp.add.at(y, i, b)", "del y[0]"])
def test_what_changes_an_array_in_place_is_found(line):
    assert list(in_place_changes(ast.parse(line))) == [line]


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
