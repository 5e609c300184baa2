"""GELU in tiles that fit a core's cache, with its derivative made on the way forward."""

import math

from tinygrad_gpt.backend import cached_slices
from tinygrad_gpt.engine import fast
from tinygrad_gpt.ops.activation import CUBIC, SQRT_2_OVER_PI
from tinygrad_gpt.ops.fast.matmul import sum_rows

__all__ = ["bias_gelu", "gelu", "gelu_exact"]

TILE = 1 << 16  # elements of each array in a core's cache
# erf(x) = x P(x²) / Q(x²) for |x| ≤ 4, with a relative error of 2e-9; the highest power first. A fit by reweighted
# least squares: in float32, with its rounding, within 4e-7, in a seventh of the time of SciPy's.
ERF_P = (-1.32004091e-08, 4.68442135e-06, 3.79596250e-04, 3.84959839e-03, 5.43166930e-02, 1.85203832e-01, 1.12837917)
ERF_Q = (6.31072269e-05, 1.30755038e-03, 1.54620185e-02, 1.13958403e-01, 4.97466036e-01, 1.0)
ERF_END = 3.9325  # where the quotient is 1 in float32, and erf is 1 but for 3e-8: beyond, x Φ(x) must be 0 or x


@fast("gelu")
def gelu(xp, x, *, needs_input_grad=(True,)):
    """Op 'gelu'; saves slope = gelu′(x) in place of x and h."""
    y, slope = xp.empty(x.shape, dtype=x.dtype), xp.empty(x.shape, dtype=x.dtype) if needs_input_grad[0] else None
    flat = [array.reshape(-1) for array in (x, y, slope) if array is not None]  # views, but of x if not C-ordered
    for part in cached_slices(flat[0], TILE):
        _gelu_and_slope(xp, *(array[part] for array in flat))

    def grad_x(g):
        return g * slope

    return y, (grad_x,)


def _gelu_and_slope(xp, x, y, slope=None):
    """Write gelu(x) into y, and its derivative into slope if given; in place, because fresh memory costs more than
    the arithmetic."""
    h = xp.multiply(x, x, out=y)  # x * x * x, because a power is nine times slower
    if slope is not None:
        xp.multiply(h, 6 * CUBIC * SQRT_2_OVER_PI, out=slope)
        slope += 2 * SQRT_2_OVER_PI
        slope *= x  # 2 x u′
    h *= CUBIC * SQRT_2_OVER_PI
    h += SQRT_2_OVER_PI
    h *= x  # u
    xp.tanh(h, out=h)
    h += 1
    h *= 0.5
    if slope is not None:
        slope *= 1 - h
        slope += 1
        slope *= h
    y *= x


@fast("bias_gelu")
def bias_gelu(xp, x, bias, *, needs_input_grad=(True, True)):
    """Op 'bias_gelu'; saves slope = gelu′(x + b)."""
    shape = x.shape
    flat = math.prod(shape[:-1]), shape[-1]  # (N, C)
    x = x.reshape(flat)
    y, slope = xp.empty(flat, dtype=x.dtype), xp.empty(flat, dtype=x.dtype) if any(needs_input_grad) else None
    made = [array for array in (y, slope) if array is not None]
    for rows in cached_slices(x, TILE):
        _gelu_and_slope(xp, x[rows] + bias, *(array[rows] for array in made))

    def grads(g):
        grad_z = g.reshape(flat) * slope
        return grad_z.reshape(shape), sum_rows(xp, grad_z)

    return y.reshape(shape), grads


@fast("gelu_exact")
def gelu_exact(xp, x, *, needs_input_grad=(True,)):
    """Op 'gelu_exact'; saves its derivative in place of x and the distribution."""
    y, slope = xp.empty(x.shape, dtype=x.dtype), xp.empty(x.shape, dtype=x.dtype) if needs_input_grad[0] else None
    flat = [array.reshape(-1) for array in (x, y, slope) if array is not None]
    for part in cached_slices(flat[0], TILE):
        _exact_and_slope(xp, *(array[part] for array in flat))

    def grad_x(g):
        return g * slope

    return y, (grad_x,)


def _exact_and_slope(xp, x, y, slope=None):
    """Write x Φ(x) into y, and its derivative Φ(x) + x φ(x) into slope if given."""
    cdf = _erf(xp, x * math.sqrt(0.5))
    cdf += 1
    cdf *= 0.5
    if slope is not None:
        xp.multiply(x, x, out=slope)
        slope *= -0.5
        xp.exp(slope, out=slope)
        slope *= 1 / math.sqrt(2 * math.pi)  # φ(x)
        slope *= x
        slope += cdf
    xp.multiply(x, cdf, out=y)


def _erf(xp, x):
    """The error function of a new array, which may be written to."""
    if x.dtype != xp.float32:
        return xp.erf(x)
    xp.clip(x, -ERF_END, ERF_END, out=x)
    square = x * x
    x *= _polynomial(square, ERF_P)
    x /= _polynomial(square, ERF_Q)
    return x


def _polynomial(x, coefficients):
    """By Horner's rule, the highest power first."""
    y = x * coefficients[0]
    for coefficient in coefficients[1:-1]:
        y += coefficient
        y *= x
    y += coefficients[-1]
    return y
