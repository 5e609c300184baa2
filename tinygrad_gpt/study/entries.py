"""A gradient check of any function of one's own, entry by entry."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tinygrad_gpt.backend import default_backend
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import TapeError
from tinygrad_gpt.study.gradcheck import LIMIT
from tinygrad_gpt.terminal import Printed, aligned

__all__ = ["Entry", "EntryCheck", "gradcheck"]

EXAMPLE = "return a Tensor computed from the arguments, such as `return (x * x).sum()`"


@dataclass(frozen=True)
class Entry:
    """One number of a gradient.

    Args:
        argument: the number of the argument, from 0.
        index: of the entry in it.
        analytic, numeric: by the backward pass, and by a central difference.
        error: their difference over the larger of 1 and the numeric one; infinite if one is not a finite number.
    """

    argument: int
    index: tuple[int, ...]
    analytic: float
    numeric: float
    error: float


@dataclass(frozen=True)
class EntryCheck(Printed):
    """All entries of the gradients of one function, those with the largest errors first.

    Args:
        entries: one for each number of the arguments.
        limit: of the error of a right entry.
    """

    entries: tuple[Entry, ...]
    limit: float

    @property
    def wrong(self) -> tuple[Entry, ...]:
        """The entries whose error is above the limit."""
        return tuple(entry for entry in self.entries if not entry.error <= self.limit)

    def __bool__(self):
        return not self.wrong

    def __str__(self):
        shown = self.entries[:max(5, min(len(self.wrong), 20))]
        rows = [("argument", "entry", "analytic", "numeric", "error", "")]
        rows += [(str(e.argument), str(e.index), f"{e.analytic:+.9g}", f"{e.numeric:+.9g}", f"{e.error:.1e}",
                  "" if e.error <= self.limit else "WRONG") for e in shown]
        verdict = f"{len(self.wrong):,} wrong" if self.wrong else "all right"
        left = len(self.entries) - len(shown)
        more = f" ({left:,} with smaller errors not shown)" if left else ""
        return "\n".join([*aligned(rows, "<<>>><"), "", f"{len(self.entries):,} entries{more}: {verdict}"])


def gradcheck(func: Callable[..., Tensor], *inputs, step: float = 1e-6, limit: float = LIMIT) -> EntryCheck:
    """Compare each entry of a function's gradients with a central difference, in float64.

    Args:
        func: takes Tensors and returns one Tensor; of a result with several values the sum is checked, each weighted
            with a random number, so that no two errors cancel.
        inputs: the arguments, arrays of floats or nested lists.
        step: half the width of the differences.
        limit: of the relative error of a right entry.

    Returns:
        The entries; it is true if all are right, and prints as a table.

    Raises:
        TapeError: "gradcheck: the function returned float, not a Tensor; …"; "gradcheck: the result does not depend
            on the arguments through ops; …".

    Example:
        >>> bool(gradcheck(lambda x: (x * x).sum(), [1.0, 2.0]))
        True
    """
    arrays = [np.array(x.numpy() if isinstance(x, Tensor) else x, np.float64) for x in inputs]
    leaves = [Tensor(_placed(x), requires_grad=True) for x in arrays]
    y = func(*leaves)
    if not isinstance(y, Tensor):
        raise TapeError(f"gradcheck: the function returned {type(y).__name__}, not a Tensor; {EXAMPLE}")
    if y.node is None:
        raise TapeError(f"gradcheck: the result does not depend on the arguments through ops; {EXAMPLE}")
    weights = np.random.default_rng(0).standard_normal(y.shape) if y.size > 1 else np.ones(y.shape)
    y.backward(_placed(weights))
    entries = []
    for number, (leaf, x) in enumerate(zip(leaves, arrays, strict=True)):
        grad = np.zeros(x.shape) if leaf.grad is None else leaf.grad.numpy()
        for index in np.ndindex(*x.shape):
            sums = [float((func(*_with(arrays, number, index, t)).numpy() * weights).sum()) for t in (step, -step)]
            entries.append(_entry(number, index, float(grad[index]), (sums[0] - sums[1]) / (2 * step)))
    return EntryCheck(tuple(sorted(entries, key=lambda entry: -entry.error)), limit)


def _with(arrays, number, index, change) -> list[Tensor]:
    """The arguments, with one entry of one of them changed."""
    moved = arrays[number].copy()
    moved[index] += change
    return [Tensor(_placed(moved if i == number else x)) for i, x in enumerate(arrays)]


def _placed(array):
    return default_backend().from_numpy(array)


def _entry(number, index, analytic, numeric) -> Entry:
    error = abs(analytic - numeric) / max(1.0, abs(numeric))
    return Entry(number, index, analytic, numeric, error if np.isfinite(error) else float("inf"))
