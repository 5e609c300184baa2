"""Every error this package raises on purpose.

A message has one line: ``WHAT (WHERE): WHY; TRY``. The command line prints it behind ``error: ``
and exits with the class's ``exit_code``. Each class also inherits from the built-in that a Python
programmer would expect to catch.
"""

from collections.abc import Iterable

__all__ = [
    "BackendError", "CheckpointError", "DTypeError", "DataError", "NonFiniteError", "ParallelError",
    "ResourceError", "ShapeError", "TapeError", "TinygradError", "UsageError", "listed",
]


def listed(names: Iterable[str], separator: str = ", ", room: int = 120) -> str:
    """Names for a message: as many as fit, at least one, and how many more there are.

    Args:
        room: characters for the names.

    Example:
        >>> listed(["wte", "wpe", "ln_f"], room=8)
        'wte, wpe and 1 more'
    """
    names = list(names)
    shown = [name if len(name) <= room else f"{name[:room - 1]}…" for name in names[:room]]
    while len(shown) > 1 and len(separator.join(shown)) > room:
        shown.pop()
    more = f" and {len(names) - len(shown):,} more" if len(shown) < len(names) else ""
    return separator.join(shown) + more


class TinygradError(Exception):
    """Root of the tree. ``exit_code`` is what the command line returns."""

    exit_code = 1


class ShapeError(TinygradError, ValueError):
    """Shapes that do not fit, or an index outside its axis. The message names the op and the argument."""


class DTypeError(TinygradError, TypeError):
    """A dtype (or Python type) an op or tensor cannot take."""


class BackendError(TinygradError, RuntimeError):
    """A backend that is absent, or arrays of two backends in one op."""


class TapeError(TinygradError, RuntimeError):
    """A backward pass that cannot be right: freed graph, no gradient, value changed since the forward pass."""


class DataError(TinygradError, ValueError):
    """A data file that cannot be read as asked. The message names file, line and column."""


class CheckpointError(TinygradError, ValueError):
    """A checkpoint or vocabulary that is damaged, foreign, or does not fit the model."""


class ParallelError(TinygradError, RuntimeError):
    """Processes that cannot compute together, or that no longer agree."""


class UsageError(TinygradError, ValueError):
    """An option or setting outside its range."""

    exit_code = 2


class NonFiniteError(TinygradError, ArithmeticError):
    """A loss or a gradient that is not a finite number."""

    exit_code = 3


class ResourceError(TinygradError, OSError):
    """Memory or disk ran out."""

    exit_code = 4
