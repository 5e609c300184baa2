"""A gradient check of any function of one's own, entry by entry."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tinygrad_gpt.backend import default_backend
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import TapeError
from tinygrad_gpt.study.gradcheck import LIMIT, relative_difference
from tinygrad_gpt.terminal import Printed, aligned

__all__ = ["Entry", "EntryCheck", "gradcheck"]

EXAMPLE = "return a Tensor computed from the arguments, such as `return (x * x).sum()`"
LEGEND = "rel. error: |analytic − numeric| over the larger of |analytic| and |numeric|"
CERTAIN = 1e-3  # of the gradient: what is less certain says nothing about it
WIDTHS = 1.0, 1.618, 2.618  # of three differences: no simple ratios, so that they do not round alike
ORDER = {False: 0, None: 1, True: 2}  # of the entries: wrong, not checked, right


@dataclass(frozen=True)
class Entry:
    """One number of a gradient.

    Args:
        argument: the number of the argument, from 0.
        index: of the entry in it.
        analytic, numeric: by the backward pass, and by a central difference.
        noise: how far the central difference may be from the derivative, because of rounding and of its step.
    """

    argument: int
    index: tuple[int, ...]
    analytic: float
    numeric: float
    noise: float

    @property
    def error(self) -> float:
        """Their difference over the larger of the two; infinite if one is not a finite number."""
        return relative_difference(self.analytic, self.numeric)

    def passed(self, limit: float = LIMIT) -> bool | None:
        """Whether the two agree within the limit and the noise; None if the noise is too large to tell."""
        scale = max(abs(self.analytic), abs(self.numeric))
        if not math.isfinite(self.error) or abs(self.analytic - self.numeric) > limit * scale + self.noise:
            return False
        return True if scale == 0 or self.noise <= CERTAIN * scale else None


@dataclass(frozen=True)
class EntryCheck(Printed):
    """All entries of the gradients of one function: the wrong ones, those that could not be checked, the right ones.

    Args:
        entries: one for each number of the arguments; in each of the three groups those with the largest errors first.
        limit: of the error of a right entry.
    """

    entries: tuple[Entry, ...]
    limit: float

    @property
    def wrong(self) -> tuple[Entry, ...]:
        """The entries whose error is above the limit and the noise."""
        return tuple(entry for entry in self.entries if entry.passed(self.limit) is False)

    @property
    def unchecked(self) -> tuple[Entry, ...]:
        """The entries whose central difference is too uncertain to tell right from wrong."""
        return tuple(entry for entry in self.entries if entry.passed(self.limit) is None)

    def __bool__(self):
        return not self.wrong

    def __str__(self):
        shown = self.entries[:max(5, min(len(self.wrong) + len(self.unchecked), 20))]
        rows = [("argument", "entry", "analytic", "numeric", "rel. error", "")]
        rows += [(str(e.argument), str(e.index), f"{e.analytic:+.9g}", f"{e.numeric:+.9g}", f"{e.error:.1e}",
                  self._mark(e)) for e in shown]
        left = len(self.entries) - len(shown)
        more = f" ({left:,} not shown)" if left else ""
        return "\n".join([*aligned(rows, "<<>>><"), "", LEGEND,
                          f"{len(self.entries):,} entries{more}: {self._verdict()}"])

    def _mark(self, entry: Entry) -> str:
        return {True: "", False: "WRONG", None: f"not checked: numeric ±{entry.noise:.1e}"}[entry.passed(self.limit)]

    def _verdict(self) -> str:
        wrong, unchecked = len(self.wrong), len(self.unchecked)
        if unchecked:
            return (f"{wrong:,} wrong, {len(self.entries) - wrong - unchecked:,} right, {unchecked:,} not checked: too "
                    "small beside the rounding of the differences")
        return f"{wrong:,} wrong" if wrong else "all right"


def gradcheck(func: Callable[..., Tensor], *inputs, step: float = 1e-6, limit: float = LIMIT) -> EntryCheck:
    """Compare each entry of a function's gradients with a central difference, in float64.

    Where the two disagree the difference is repeated with other steps, and the most certain one counts.

    Args:
        func: takes Tensors and returns one Tensor; of a result with several values the sum is checked, each weighted
            with a random number, so that no two errors cancel.
        inputs: the arguments, arrays of floats or nested lists.
        step: half the width of the differences; as a share of the entry, where that is above 1.
        limit: of the error of a right entry, relative to the gradient; what rounding may add is allowed besides.

    Returns:
        The entries; it is true if none is wrong, and prints as a table.

    Raises:
        TapeError: "gradcheck: the function returned float, not a Tensor; …"; "gradcheck: the result does not depend
            on the arguments through ops; …"; "gradcheck: the function is random: …".

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
    _refuse_random(func, arrays, y.numpy(), calls=4)
    weights = np.random.default_rng(0).standard_normal(y.shape) if y.size > 1 else np.ones(y.shape)
    y.backward(_placed(weights))
    entries = []
    for number, (leaf, x) in enumerate(zip(leaves, arrays, strict=True)):
        grad = np.zeros(x.shape) if leaf.grad is None else leaf.grad.numpy()
        for index in np.ndindex(*x.shape):
            terms = _Terms(func, arrays, weights, number, index)
            entries.append(_entry(terms, float(grad[index]), step, limit))
    check = EntryCheck(tuple(sorted(entries, key=lambda e: (ORDER[e.passed(limit)], -e.error))), limit)
    if check.wrong:  # a mask that seldom changes is noticed only now
        _refuse_random(func, arrays, y.numpy(), calls=100)
    return check


def _refuse_random(func, arrays, expected, calls: int) -> None:
    """Raise if the function gives other values for the same arguments."""
    for _ in range(calls):
        found = func(*(Tensor(_placed(x)) for x in arrays)).numpy()
        if not np.allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max(initial=0), equal_nan=True):
            raise TapeError("gradcheck: the function is random: two calls with the same arguments differ by "
                            f"{np.abs(found - expected).max():.3g}; seed its generator in it, or draw the mask outside")


@dataclass(frozen=True)
class _Terms:
    """The weighted values of the function as a function of one entry of its arguments."""

    func: Callable[..., Tensor]
    arrays: list[np.ndarray]
    weights: np.ndarray
    number: int
    index: tuple[int, ...]

    @property
    def x(self) -> float:
        """The entry."""
        return float(self.arrays[self.number][self.index])

    def __call__(self, value: float) -> np.ndarray:
        moved = self.arrays[self.number].copy()
        moved[self.index] = value
        arguments = [Tensor(_placed(moved if i == self.number else x)) for i, x in enumerate(self.arrays)]
        return self.func(*arguments).numpy() * self.weights

    def difference(self, step: float) -> tuple[float, float]:
        """The derivative by a central difference, and by how much rounding of the values can change it."""
        right, left = self.x + step, self.x - step
        with np.errstate(all="ignore"):  # the logarithm of a negative number, an overflow
            after, before = self(right), self(left)
            size = max(np.abs(after).sum(), np.abs(before).sum())
            numeric = (after.sum() - before.sum()) / (right - left)
        return float(numeric), float(8 * np.finfo(np.float64).eps * size / (right - left))


def _placed(array):
    return default_backend().from_numpy(array)


def _entry(terms: _Terms, analytic: float, step: float, limit: float) -> Entry:
    """The entry with its difference; if that does not agree, with the most certain one of several steps."""
    entry = Entry(terms.number, terms.index, analytic, *terms.difference(step * max(1.0, abs(terms.x))))
    if entry.passed(limit):
        return entry
    found = []
    for width in _steps(step, abs(terms.x)):
        (numeric, noise), *others = (terms.difference(times * width) for times in WIDTHS)
        noise += 2 * max(abs(other - numeric) for other, _ in others)
        found.append((noise if math.isfinite(noise) else math.inf, numeric))
    noise, numeric = min(found, key=lambda pair: pair[0])
    return Entry(terms.number, terms.index, analytic, numeric, noise)


def _steps(step: float, size: float) -> Iterator[float]:
    """The usual step for an entry of a size, a small part of it, and larger steps that do not reach 0."""
    usual = step * max(1.0, size)
    yield usual
    if 0 < 1e-4 * size < usual:
        yield 1e-4 * size
    yield from (width for width in (1e2 * usual, 1e4 * usual) if not 0 < size < 3 * width)
