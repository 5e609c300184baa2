"""Sizes that keep the package readable: lines of a function, lines of a file, parameters of a function."""

import ast
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "tinygrad_gpt"
sys.path.insert(0, str(REPOSITORY / "benchmarks"))
from code_lines import code_lines  # noqa: E402

FUNCTION, FILE, PARAMETERS = 40, 350, 7
# What is over a limit, with the reason; a name that is no longer over it must be struck off.
LONG_FUNCTIONS: dict[str, str] = {}
LONG_FILES: dict[str, str] = {}
MANY_PARAMETERS: dict[str, str] = {}

FILES = sorted(PACKAGE.rglob("*.py"))


def name_of(path):
    return path.relative_to(PACKAGE).as_posix()


def functions(tree, prefix=""):
    """Pairs of the dotted name and the syntax tree of every function."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{prefix}{node.name}"
            if not isinstance(node, ast.ClassDef):
                yield name, node
            yield from functions(node, f"{name}.")
        else:
            yield from functions(node, prefix)


def parameters(node):
    """How many parameters a function has, ``*args`` and ``**settings`` counting one each.

    What the caller does not write is not counted: self, cls, and the namespace ``xp`` that the engine gives to an op.
    """
    a = node.args
    names = [p.arg for p in (*a.posonlyargs, *a.args, *a.kwonlyargs)] + [p.arg for p in (a.vararg, a.kwarg) if p]
    return len([n for n in names if n not in ("self", "cls", "xp")])


def is_command(node):
    """A click command has one parameter for each of its options."""
    return any("click.command" in ast.unparse(d) for d in node.decorator_list)


def over(sizes, limit):
    return {name: size for name, size in sizes.items() if size > limit}


def measured():
    """Code lines and parameters of every function, by file and name."""
    lines, counts = {}, {}
    for path in FILES:
        source = path.read_text(encoding="utf-8")
        code = code_lines(source)
        for name, node in functions(ast.parse(source)):
            key = f"{name_of(path)}:{name}"
            lines[key] = len(code & set(range(node.lineno, node.end_lineno + 1)))
            if not is_command(node):
                counts[key] = parameters(node)
    return lines, counts


def test_no_function_is_long():
    assert over(measured()[0], FUNCTION).keys() == LONG_FUNCTIONS.keys()


def test_no_file_is_long():
    sizes = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert over(sizes, FILE).keys() == LONG_FILES.keys()


def test_no_function_has_many_parameters():
    assert over(measured()[1], PARAMETERS).keys() == MANY_PARAMETERS.keys()


@pytest.mark.parametrize("exceptions", [LONG_FUNCTIONS, LONG_FILES, MANY_PARAMETERS])
def test_exceptions_have_reasons(exceptions):
    assert all(len(reason) > 10 for reason in exceptions.values())


def test_what_counts():
    source = ('"""Doc."""\n\n# comment\ndef f(self, a, *, b=1, **rest):\n    """Doc,\n    long."""\n'
              '    return (a,\n            b)\n')
    assert code_lines(source) == {4, 7, 8}
    (name, node), = functions(ast.parse(source))
    assert (name, parameters(node)) == ("f", 3)
