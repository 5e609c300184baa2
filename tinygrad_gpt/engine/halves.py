"""Dtypes of arguments, and the body of an op on halves: it works on float32 copies, and what it gives is rounded."""

from collections.abc import Callable

import numpy as np

from tinygrad_gpt.backend.precision import is_half
from tinygrad_gpt.engine.pending import dense

__all__ = ["any_half", "any_of", "in_float32"]


def any_half(arrays) -> bool:
    """Whether one of the arrays is float16 or bfloat16."""
    for a in arrays:  # noqa: SIM110 - a generator would cost half a microsecond for every op
        if a is not None and a.dtype.itemsize == 2 and is_half(a.dtype):
            return True
    return False


def any_of(dtype: np.dtype, arrays) -> bool:
    """Whether one of the arrays has this dtype."""
    for a in arrays:  # noqa: SIM110 - as above
        if a is not None and a.dtype == dtype:
            return True
    return False


def in_float32(function: Callable) -> Callable:
    """The body of an op, for halves.

    What is reduced to () stays in float32: it is a loss, or a sum on the way to one, and halves have 3 digits.
    """
    def on_halves(xp, *arrays, **settings):
        dtypes = [a.dtype if a is not None and is_half(a.dtype) else None for a in arrays]
        halves = [a for a, dtype in zip(arrays, dtypes, strict=True) if dtype is not None]
        copies = [a if dtype is None else a.astype(np.float32) for a, dtype in zip(arrays, dtypes, strict=True)]
        y, pullbacks = function(xp, *copies, **settings)
        if y.dtype == np.float32 and (y.ndim or not any(a.ndim for a in halves)):
            y = y.astype(halves[0].dtype)
        if callable(pullbacks):
            return y, _rounded(pullbacks, dtypes)
        return y, [pullback and _rounded(pullback, dtype) for pullback, dtype in zip(pullbacks, dtypes, strict=False)]

    return on_halves


def _rounded(pullback, dtype):
    """The pullback, of one argument or (with a list of dtypes) of all, given float32 and rounded to dtype, if any."""
    def rounded(grad, dtype):
        return grad if grad is None or dtype is None else dense(grad).astype(dtype)

    def on_halves(g):
        grad = pullback(g.astype(np.float32))
        return list(map(rounded, grad, dtype)) if isinstance(dtype, list) else rounded(grad, dtype)

    return on_halves
