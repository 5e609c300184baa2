"""Reductions: sum, mean, max, logsumexp."""

import math

from tinygrad_gpt.backend import is_integer
from tinygrad_gpt.engine import op
from tinygrad_gpt.errors import DTypeError

__all__ = ["kept_shape", "logsumexp", "max_", "mean", "sum_"]


def _samples(r):
    x = r.normal(2, 3, 4)
    return [(x,), (x, {"axis": 1}), (x, {"axis": (0, -1), "keepdims": True}), (r.normal(),)]


def _bad_axis(r):
    return [((r.normal(2, 3), {"axis": 2}), "axis 2 is out of bounds")]


def kept_shape(shape, axis):
    """Shape of the result had it kept the reduced axes as size 1."""
    if axis is None:
        return (1,) * len(shape)
    axes = {a % max(1, len(shape)) for a in (axis if isinstance(axis, tuple) else (axis,))}
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


@op(samples=_samples, errors=_bad_axis)
def sum_(xp, x, *, axis=None, keepdims=False):
    """Sum over one axis, several, or all.

    Forward:  y = Σ x
    Gradient: x̄ = ȳ, repeated along the summed axes
    Shapes:   x (...) -> y, without the axes, or with size 1 there
    Saves:    nothing
    Source:   calculus
    """
    shape, kept = x.shape, kept_shape(x.shape, axis)

    def grad_x(g):
        return xp.broadcast_to(g.reshape(kept), shape=shape)  # y = Σ x

    return x.sum(axis=axis, keepdims=keepdims), (grad_x,)


def _floats(x, **settings):
    if is_integer(x.dtype):
        raise DTypeError(f"op 'mean': 'x' is {x.dtype}, whose mean would be rounded; convert it with float()")


@op(samples=_samples, errors=lambda r: [*_bad_axis(r), (([1, 2],), "convert it with float()")], check=_floats)
def mean(xp, x, *, axis=None, keepdims=False):
    """Arithmetic mean over one axis, several, or all. Integers are refused, as in PyTorch.

    Forward:  y = Σ x / n
    Gradient: x̄ = ȳ / n, repeated along the averaged axes
    Shapes:   x (...) -> y, without the axes, or with size 1 there
    Saves:    nothing
    Source:   calculus
    """
    shape, kept = x.shape, kept_shape(x.shape, axis)
    n = math.prod(shape) // max(1, math.prod(kept)) or math.nan  # of no values the mean is NaN

    def grad_x(g):
        return xp.broadcast_to(g.reshape(kept) / n, shape=shape)  # y = Σ x / n

    return x.sum(axis=axis, keepdims=keepdims) / n, (grad_x,)


@op(samples=_samples, errors=_bad_axis)
def max_(xp, x, *, axis=None, keepdims=False):
    """Largest value; equal ones share the gradient evenly, as PyTorch's amax.

    Forward:  y = max x
    Gradient: x̄ = ȳ ⊙ [x = y] / Σ [x = y]
    Shapes:   x (...) -> y, without the axes, or with size 1 there
    Saves:    x, y
    Source:   sub-gradient, split evenly at ties
    """
    y = x.max(axis=axis, keepdims=keepdims)
    kept = kept_shape(x.shape, axis)

    def grad_x(g):
        largest = xp.equal(x, y.reshape(kept)).astype(g.dtype)  # y = max x
        return g.reshape(kept) * largest / largest.sum(axis=axis, keepdims=True)  # y = max x, shared evenly at ties

    return y, (grad_x,)


@op(samples=_samples, errors=_bad_axis)
def logsumexp(xp, x, *, axis=None, keepdims=False):
    """Logarithm of a sum of exponentials, without overflow.

    Forward:  y = ln Σ eˣ = m + ln Σ e^(x − m),  m = max x
    Gradient: x̄ = ȳ ⊙ e^(x − y)
    Shapes:   x (...) -> y, without the axes, or with size 1 there
    Saves:    x, y
    Source:   the gradient is the softmax
    """
    m = x.max(axis=axis, keepdims=True)
    m, kept = xp.where(xp.isfinite(m), m, 0.0), m.shape  # ∞ − ∞ would be NaN
    y = xp.log(xp.exp(x - m).sum(axis=axis, keepdims=True)) + m
    y = y if keepdims else y.reshape(x.sum(axis=axis).shape)

    def grad_x(g):
        return g.reshape(kept) * xp.exp(x - y.reshape(kept))  # y = ln Σ eˣ

    return y, (grad_x,)
