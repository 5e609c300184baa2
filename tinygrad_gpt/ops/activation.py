"""Activations: sigmoid, relu, GELU."""

import math

from tinygrad_gpt.backend import backend_of, cached_slices
from tinygrad_gpt.engine import op
from tinygrad_gpt.errors import ShapeError
from tinygrad_gpt.ops.elementwise import tanh
from tinygrad_gpt.ops.kernels import CHUNK, THREADS, Kernels
from tinygrad_gpt.ops.matmul import sum_rows

__all__ = ["bias_gelu", "gelu", "gelu_exact", "relu", "sigmoid"]

SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
CUBIC = 0.044715
CACHED = 1 << 16  # elements of each of the arrays of `gelu` in a core's cache
KERNELS = Kernels(__file__)


def _sigmoid_composed(x):
    return (tanh(x * 0.5) + 1.0) * 0.5


@op(samples=lambda r: [(r.normal(2, 3),)], errors=lambda r: [(("text",), "give numbers")], composed=_sigmoid_composed)
def sigmoid(xp, x):
    """Logistic function, computed through tanh, which cannot overflow.

    Forward:  y = 1 / (1 + e⁻ˣ) = (1 + tanh(x / 2)) / 2
    Gradient: x̄ = ȳ ⊙ y ⊙ (1 − y)
    Shapes:   x (...) -> y (...)
    Saves:    y
    Source:   calculus
    """
    y = 0.5 * (xp.tanh(0.5 * x) + 1)

    def grad_x(g):
        return g * y * (1 - y)

    return y, (grad_x,)


@op(samples=lambda r: [(r.normal(2, 3),)], errors=lambda r: [(("text",), "give numbers")])
def relu(xp, x):
    """Rectifier, with derivative 0 at 0.

    Forward:  y = max(x, 0)
    Gradient: x̄ = ȳ ⊙ [x > 0]
    Shapes:   x (...) -> y (...)
    Saves:    y
    Source:   sub-gradient, 0 at 0 as in PyTorch
    """
    y = xp.maximum(x, 0)

    def grad_x(g):
        return g * (y > 0)

    return y, (grad_x,)


def _gelu_composed(x):
    inner = (x + x * x * x * CUBIC) * SQRT_2_OVER_PI
    return x * 0.5 * (tanh(inner) + 1.0)


def _gelu_cuda(xp, x, *, needs_input_grad=(True,)):
    x = xp.ascontiguousarray(x)
    y = xp.empty(x.shape, dtype=x.dtype)
    KERNELS.elementwise("gelu", x, x, y)

    def grad_x(g):
        grad = xp.empty(g.shape, dtype=g.dtype)
        KERNELS.elementwise("gelu_grad", x, xp.ascontiguousarray(g), x, grad)
        return grad

    return y, (grad_x,)


@op(samples=lambda r: [(r.normal(2, 3),), (r.normal(CACHED + 3),)], errors=lambda r: [(("text",), "give numbers")],
    composed=_gelu_composed, cuda=_gelu_cuda)
def gelu(xp, x, *, needs_input_grad=(True,)):
    """Gaussian error linear unit in the tanh form, GPT-2's activation.

    Forward:  y = x h,  h = ½ (1 + tanh u),  u = c (x + 0.044715 x³),  c = √(2/π)
    Gradient: x̄ = ȳ ⊙ slope,  slope = h (1 + 2 x (1 − h) u′),  u′ = c (1 + 3 · 0.044715 x²),  since h′ = 2 h (1 − h) u′
    Shapes:   x (...) -> y (...)
    Saves:    slope
    Source:   Hendrycks & Gimpel 2016, arXiv:1606.08415; openai/gpt-2 src/model.py
    """
    # The slope is made on the way forward, where h is at hand: one array is kept in place of x and h.
    y, slope = xp.empty(x.shape, dtype=x.dtype), xp.empty(x.shape, dtype=x.dtype) if needs_input_grad[0] else None
    flat = [array.reshape(-1) for array in (x, y, slope) if array is not None]  # views, but of x if not C-ordered
    for part in cached_slices(flat[0], CACHED):
        _gelu_and_slope(xp, *(array[part] for array in flat))

    def grad_x(g):
        return g * slope

    return y, (grad_x,)


def _gelu_and_slope(xp, x, y, slope=None):
    """Write both of some x, in place, because a pass over fresh memory costs more than its arithmetic."""
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


def _bias_gelu_composed(x, bias):
    return gelu(x + bias)


def _check_bias(x, bias):
    if not (x.ndim and x.shape[-1:] == bias.shape):
        raise ShapeError(f"op 'bias_gelu': last axis of x is {x.shape[-1] if x.ndim else 'missing'} (x is {x.shape}) "
                         f"but bias is {bias.shape}")


def _bias_gelu_cuda(xp, x, bias, *, needs_input_grad=(True, True)):
    _check_bias(x, bias)
    x, bias = xp.ascontiguousarray(x), xp.ascontiguousarray(bias)
    flat = math.prod(x.shape[:-1]), x.shape[-1]  # (N, C)
    y = xp.empty(x.shape, dtype=x.dtype)
    KERNELS.launch("bias_gelu", x, (flat[0], -(-flat[1] // THREADS)), x, bias, y, flat[1])

    def grads(g):
        grad_x = xp.empty(g.shape, dtype=g.dtype)
        grad_bias, = KERNELS.sum_rows("bias_gelu_grad", x, flat, 1, xp.ascontiguousarray(g), x, bias, grad_x)
        return grad_x, grad_bias

    return y, grads


@op(samples=lambda r: [(r.normal(2, 3), r.normal(3)), (r.normal(4), r.normal(4)),
                       (r.normal(2, CHUNK - 9, 35), r.normal(35))],
    errors=lambda r: [((r.normal(2, 3), r.normal(2)), "last axis of x is 3 (x is (2, 3)) but bias is (2,)")],
    composed=_bias_gelu_composed, cuda=_bias_gelu_cuda)
def bias_gelu(xp, x, bias, *, needs_input_grad=(True, True)):
    """GELU of x + b: what follows the matrix product of a feed-forward layer, in one pass.

    Forward:  y = gelu(z),  z = x + b
    Gradient: x̄ = ȳ ⊙ slope,  b̄ = Σ x̄,  slope = gelu′(z)
    Shapes:   x (..., C), bias (C) -> y (..., C)
    Saves:    slope
    Source:   op 'gelu'; Shoeybi et al. 2019, arXiv:1909.08053, section 3
    """
    _check_bias(x, bias)
    shape = x.shape
    flat = math.prod(shape[:-1]), shape[-1]  # (N, C)
    x = x.reshape(flat)
    y, slope = xp.empty(flat, dtype=x.dtype), xp.empty(flat, dtype=x.dtype) if any(needs_input_grad) else None
    made = [array for array in (y, slope) if array is not None]
    for rows in cached_slices(x, CACHED):
        _gelu_and_slope(xp, x[rows] + bias, *(array[rows] for array in made))

    def grads(g):
        grad_z = g.reshape(flat) * slope
        return grad_z.reshape(shape), sum_rows(xp, grad_z)

    return y.reshape(shape), grads


@op(samples=lambda r: [(r.normal(2, 3),)], errors=lambda r: [(("text",), "give numbers")])
def gelu_exact(xp, x):
    """Gaussian error linear unit with the normal distribution itself.

    Forward:  y = x Φ(x),  Φ(x) = ½ (1 + erf(x / √2))
    Gradient: x̄ = ȳ ⊙ (Φ(x) + x φ(x)),  φ(x) = e^(−x²/2) / √(2π)
    Shapes:   x (...) -> y (...)
    Saves:    x, cdf
    Source:   Hendrycks & Gimpel 2016, arXiv:1606.08415
    """
    cdf = 0.5 * (1 + backend_of(x).erf(x * math.sqrt(0.5)))

    def grad_x(g):
        return g * (cdf + x * xp.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi)))

    return x * cdf, (grad_x,)
