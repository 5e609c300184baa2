"""The engine's switches, in force for a block of code in one thread."""

import contextlib
import contextvars
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tinygrad_gpt.errors import UsageError

__all__ = ["FORMS", "Mode", "checking", "composed_ops", "current_mode", "enable_grad", "inference_mode",
           "is_grad_enabled", "loaders", "no_grad", "observing", "set_grad_enabled", "switched", "using_ops"]

FORMS = ("composed", "plain", "fast", "compiled")
loaders: dict[str, Callable[[], None]] = {}  # by the name of a form, what imports it: it is called before its ops run


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


class Recording(contextlib.ContextDecorator):
    """Whether a tape is recorded, in a block, in the decorated function or generator, in this thread."""

    def __init__(self, recording: bool):
        self.recording = recording
        self._tokens: list[contextvars.Token] = []

    def __enter__(self):
        self._tokens.append(_mode.set(replace(_mode.get(), recording=self.recording)))

    def __exit__(self, *_):
        _mode.reset(self._tokens.pop())

    def __call__(self, function):
        if inspect.isgeneratorfunction(function):
            return self._on_generator(function)

        @functools.wraps(function)
        def switched_function(*args, **settings):
            with Recording(self.recording):
                return function(*args, **settings)

        return switched_function

    def _on_generator(self, function):
        """The generator function with the switch in force while its body runs, and not where it is consumed."""
        @functools.wraps(function)
        def switched_generator(*args, **settings):
            generator, given = function(*args, **settings), None
            try:
                while True:
                    with Recording(self.recording):
                        item = generator.send(given)
                    given = yield item
            except StopIteration as end:
                return end.value
            finally:
                generator.close()

        return switched_generator


def no_grad(function: Callable | None = None) -> Any:
    """Record no tape in this block, or in the decorated function or generator, in this thread."""
    return Recording(False) if function is None else Recording(False)(function)


inference_mode = no_grad  # PyTorch's other name; results may be used on a tape later


def enable_grad(function: Callable | None = None) -> Any:
    """Record a tape in this block, also inside `no_grad`; a decorator, too."""
    return Recording(True) if function is None else Recording(True)(function)


def set_grad_enabled(mode: bool) -> Recording:
    """Record a tape in this block, or none."""
    return Recording(bool(mode))


def is_grad_enabled() -> bool:
    """Whether a tape is recorded here."""
    return _mode.get().recording


def using_ops(form: str):
    """Run ops in one form in this block, in this thread.

    Args:
        form: "fast": the CUDA form on a GPU, the tuned one elsewhere, the plain one of an op that has no other.
            "compiled": the same, on the host with loops that numba compiles. "plain": the plain, pure function of each
            op. "composed": a fused op as the simpler ops it is made of, each step on the tape.

    Raises:
        UsageError: "ops are 'quick'; choose one of composed, plain, fast, compiled"; "ops 'compiled' (numba): it is not
            installed; …".
    """
    if form not in FORMS:
        raise UsageError(f"ops are {form!r}; choose one of {', '.join(FORMS)}")
    if form in loaders:
        loaders[form]()
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
