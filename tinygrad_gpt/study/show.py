"""What the three views share: ops by name, where a function is defined, and its source."""

import ast
import difflib
import dis
import inspect
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from tinygrad_gpt.engine import OPS, Op
from tinygrad_gpt.errors import UsageError

__all__ = ["called_functions", "numbered_source", "place", "select_ops"]

PACKAGE = Path(__file__).resolve().parents[1]


def select_ops(names: Iterable[str] = ()) -> list[Op]:
    """The ops of these names, in the order given; all ops for no name.

    Raises:
        UsageError: "unknown op (gleu): not one of the 42 ops; did you mean gelu, relu?"
    """
    names = list(names)
    for name in names:
        if name not in OPS:
            near = difflib.get_close_matches(name, OPS, cutoff=0.5)
            hint = f"did you mean {', '.join(near)}?" if near else f"choose from {', '.join(sorted(OPS))}"
            raise UsageError(f"unknown op ({name}): not one of the {len(OPS)} ops; {hint}")
    return [OPS[name] for name in names or OPS]


def place(function: Callable | CodeType) -> str:
    """Where a function is defined: ``tinygrad_gpt/ops/matmul.py:86``, or the full path outside this package."""
    code = function if isinstance(function, CodeType) else function.__code__
    path = Path(code.co_filename)
    if PACKAGE in path.parents:
        path = path.relative_to(PACKAGE.parent)
    return f"{path.as_posix()}:{code.co_firstlineno}"


def numbered_source(function: Callable, *, below_docstring: bool = False) -> str:
    """The lines of a function, from its ``def`` on (or only those below its docstring), with their numbers in its file.

    Raises:
        UsageError: "no source (gelu): …", for a function typed into an interpreter.
    """
    try:
        lines, first = inspect.getsourcelines(function)
    except OSError as error:
        raise UsageError(f"no source ({function.__qualname__}): {error}; define the op in a file") from error
    skipped = _lines_before(lines, below_docstring)
    indent = min((len(line) - len(line.lstrip()) for line in lines[skipped:] if line.strip()), default=0)
    width = len(str(first + len(lines)))
    return "\n".join(f"{first + i:{width}}  {line.rstrip()[indent:]}".rstrip()
                     for i, line in enumerate(lines) if i >= skipped)


def _lines_before(lines: Sequence[str], body: bool) -> int:
    """How many lines the decorator takes, or (before the body) decorator, signature and docstring."""
    function: Any = ast.parse(textwrap.dedent("".join(lines))).body[0]
    return function.body[0].end_lineno if body else function.lineno - 1


def called_functions(function: Callable) -> list[FunctionType]:
    """All functions of ops that a function calls, and that these call in turn; an op means its plain function."""
    found: list[FunctionType] = []
    todo = [function]
    while todo:
        named = _named_in(todo.pop(0))
        new = [f for f in named if f is not function and f not in found and ".ops." in f"{f.__module__}."]
        found += new
        todo += new
    return found


def _named_in(function: Callable) -> list[FunctionType]:
    """The functions, and plain functions of ops, that a function or one defined in it names, in the order of names."""
    codes, names = [function.__code__], dict[str, None]()
    while codes:
        code = codes.pop(0)  # not its co_names, among which are attributes, such as the method x.reshape
        names.update((step.argval, None) for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL")
        codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    values = [function.__globals__.get(name) for name in names]
    return [f for f in (value.function if isinstance(value, Op) else value for value in values)
            if isinstance(f, FunctionType)]
