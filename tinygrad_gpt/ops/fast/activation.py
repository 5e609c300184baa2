"""GELU in tiles that fit a core's cache, with its derivative made on the way forward."""

import math

from tinygrad_gpt.backend import cached_slices
from tinygrad_gpt.engine import fast
from tinygrad_gpt.ops.activation import CUBIC, SQRT_2_OVER_PI
from tinygrad_gpt.ops.fast.matmul import sum_rows

__all__ = ["bias_gelu", "gelu"]

TILE = 1 << 16  # elements of each array in a core's cache


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
