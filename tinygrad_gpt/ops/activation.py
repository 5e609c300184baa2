"""Activations: sigmoid, relu, GELU."""

import math

from tinygrad_gpt.autograd import op
from tinygrad_gpt.backend import backend_of, cached_blocks
from tinygrad_gpt.ops.elementwise import tanh

__all__ = ["gelu", "gelu_exact", "relu", "sigmoid"]

SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
CUBIC = 0.044715
CACHED = 1 << 15  # elements of each of the arrays of `gelu` in a core's cache


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


@op(samples=lambda r: [(r.normal(2, 3),), (r.normal(CACHED + 3),)], errors=lambda r: [(("text",), "give numbers")],
    composed=_gelu_composed)
def gelu(xp, x):
    """Gaussian error linear unit in the tanh form, GPT-2's activation.

    Forward:  y = x h,  h = ½ (1 + tanh u),  u = c (x + 0.044715 x³),  c = √(2/π)
    Gradient: x̄ = ȳ ⊙ h (1 + 2 x (1 − h) u′),  u′ = c (1 + 3 · 0.044715 x²),  since h′ = 2 h (1 − h) u′
    Shapes:   x (...) -> y (...)
    Saves:    x, h
    Source:   Hendrycks & Gimpel 2016, arXiv:1606.08415; openai/gpt-2 src/model.py
    """
    # In place, because a pass over fresh memory costs more than its arithmetic; x * x * x, because a power is nine
    # times slower.
    h, result = xp.empty(x.shape, dtype=x.dtype), xp.empty(x.shape, dtype=x.dtype)
    for some, u, y in _chunks(x, h, result):
        xp.multiply(some, some, out=u)
        u *= CUBIC * SQRT_2_OVER_PI
        u += SQRT_2_OVER_PI
        u *= some  # u
        xp.tanh(u, out=u)
        u += 1
        u *= 0.5  # h
        xp.multiply(some, u, out=y)

    def grad_x(g):
        grad = xp.empty(g.shape, dtype=g.dtype)
        for some, some_h, some_g, d in _chunks(x, h, g, grad):
            xp.multiply(some, some, out=d)
            d *= 6 * CUBIC * SQRT_2_OVER_PI
            d += 2 * SQRT_2_OVER_PI
            d *= some  # 2 x u′
            d *= 1 - some_h
            d += 1
            d *= some_h
            d *= some_g
        return grad

    return result, (grad_x,)


def _chunks(*arrays):
    """Parts of arrays of one shape, flat and side by side, that stay in a core's cache: views, of C-ordered arrays."""
    flat = [array.reshape(-1) for array in arrays]
    for part in cached_blocks(flat[0], CACHED):
        yield [array[part] for array in flat]


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
