"""A student's gradients in place of the package's: in a training, in the ledger, in any command."""

import contextlib
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import tinygrad_gpt.ops  # noqa: F401 - fills the registry
from tinygrad_gpt.engine import OPS, using_ops
from tinygrad_gpt.engine.forms import Form
from tinygrad_gpt.errors import TapeError, UsageError
from tinygrad_gpt.study.calls import samples
from tinygrad_gpt.study.cases import XP, answer

__all__ = ["own_functions", "using_gradients"]


def own_functions(path: Path) -> tuple[dict[str, Callable], list[str]]:
    """Run Python files, and take the functions that have the names of ops.

    Args:
        path: a file, or a folder of the course.

    Returns:
        The functions by the op's name, and the names of those that are not written yet.

    Raises:
        UsageError: there is no such file, or no function of an op in it, or one computes something else than the op.
        TapeError: a file fails.
    """
    files = sorted(path.glob("*.py")) if path.is_dir() else [path]
    found: dict[str, Callable] = {}
    for file in files:
        if not file.is_file():
            raise UsageError(f"--gradients ({file}): no such file; give a Python file, or a folder of the course")
        namespace: dict = {"__name__": file.stem, "__file__": str(file)}
        with _explained({str(file)}):
            exec(compile(file.read_bytes(), str(file), "exec"), namespace)
        found |= {name.rstrip("_"): f for name, f in namespace.items()
                  if callable(f) and name.rstrip("_") in OPS and hasattr(f, "__code__")}
    if not found:
        raise UsageError(f"--gradients ({path}): no function has the name of an op, such as gelu; "
                         "`course start DIR` writes some")
    unwritten = [name for name, function in found.items() if not _written(name, function)]
    return {name: f for name, f in found.items() if name not in unwritten}, unwritten


def _written(name: str, function: Callable) -> bool:
    """Whether none of its pullbacks is that of an untouched exercise."""
    arguments, settings = samples(OPS[name])[0]
    try:
        y = function(XP, *arguments, **settings)[0]
        answer(function, arguments, settings, y * 0)
        right = OPS[name].function(XP, *arguments, **settings)[0]
    except NotImplementedError:
        return False
    except Exception:  # it fails: the step in which it does will say so
        return True
    if y.shape != right.shape or not np.allclose(y, right):
        raise UsageError(f"--gradients ({function.__code__.co_filename}): {name} computes something else than the op "
                         f"'{name}', as a personal exercise does; give the forward pass of the op")
    return True


@contextlib.contextmanager
def using_gradients(functions: dict[str, Callable]) -> Iterator[None]:
    """Run these functions in place of all forms of the ops of their names in this block, and the others in plain form.

    Raises:
        TapeError: "own gradient (my_ops.py:12): ValueError: …", whatever a function raises.
    """
    before = {name: (op.plain, op.fast, op.compiled, op.cuda) for name, op in OPS.items() if name in functions}
    for name, function in functions.items():
        OPS[name].plain, OPS[name].fast, OPS[name].compiled, OPS[name].cuda = Form(function), None, None, None
    try:
        with using_ops("plain"), _explained({f.__code__.co_filename for f in functions.values()}):
            yield
    finally:
        for name, (plain, fast, compiled, cuda) in before.items():
            op = OPS[name]  # its compiled form may have been imported in the block, and is imported once only
            op.plain, op.fast, op.compiled, op.cuda = plain, fast, compiled or op.compiled, cuda


@contextlib.contextmanager
def _explained(files: set[str]) -> Iterator[None]:
    """What is raised in one of the files, as one of our errors."""
    try:
        yield
    except SyntaxError as error:
        raise TapeError(f"own gradient ({error.filename}:{error.lineno}): {error.msg}; mend the file") from error
    except Exception as error:
        places = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
        if not places:
            raise
        why = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise TapeError(f"own gradient ({places[-1].filename}:{places[-1].lineno}): {why}; `course check` grades "
                        "one exercise at a time") from error
