"""The engine's switches, in force for a block of code in one thread."""

import contextlib
import contextvars
from collections.abc import Callable
from dataclasses import dataclass, replace

from tinygrad_gpt.errors import UsageError

__all__ = ["FORMS", "Mode", "checking", "composed_ops", "current_mode", "no_grad", "observing", "switched", "using_ops"]

FORMS = ("composed", "plain", "fast")


@dataclass(frozen=True)
class Mode:
    """The engine's switches.

    Args:
        recording: record a tape.
        ops: the form of the ops that run, one of `FORMS`.
        checking: guard saved arrays.
        observer: called after each op.
    """

    recording: bool = True
    ops: str = "fast"
    checking: bool = False
    observer: Callable | None = None


_NORMAL = Mode()
_mode = contextvars.ContextVar("mode", default=_NORMAL)  # a context variable: each thread has its own

current_mode = _mode.get  # returns the switches in force in this thread


@contextlib.contextmanager
def switched(**changes):
    """The mode with these changes in this block, in this thread."""
    token = _mode.set(replace(_mode.get(), **changes))
    try:
        yield
    finally:
        _mode.reset(token)


def no_grad():
    """Record no tape in this block (or in the decorated function), in this thread."""
    return switched(recording=False)


def using_ops(form: str):
    """Run ops in one form in this block, in this thread.

    Args:
        form: "fast": the CUDA form on a GPU, the tuned one elsewhere, the plain one of an op that has no other.
            "plain": the plain, pure function of each op. "composed": a fused op as the simpler ops it is made of, each
            step on the tape.

    Raises:
        UsageError: "ops are 'quick'; choose one of composed, plain, fast".
    """
    if form not in FORMS:
        raise UsageError(f"ops are {form!r}; choose one of {', '.join(FORMS)}")
    return switched(ops=form)


def composed_ops():
    """The same as ``using_ops("composed")``."""
    return using_ops("composed")


def checking():
    """Guard saved arrays in this block: they are write-locked, and compared with a digest before they are used."""
    return switched(checking=True)


def observing(observer: Callable):
    """Call ``observer(op, arguments, result)`` after each op in this block; it may wrap the pullbacks of the result."""
    return switched(observer=observer)
