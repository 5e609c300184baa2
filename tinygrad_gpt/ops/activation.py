"""Activations: sigmoid, relu, GELU."""

import math

from tinygrad_gpt.autograd import op
from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.ops.elementwise import tanh

__all__ = ["gelu", "gelu_exact", "relu", "sigmoid"]

SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
CUBIC = 0.044715


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


@op(samples=lambda r: [(r.normal(2, 3),), (r.normal(3),)], errors=lambda r: [(("text",), "give numbers")],
    composed=_gelu_composed)
def gelu(xp, x):
    """Gaussian error linear unit in the tanh form, GPT-2's activation.

    Forward:  y = ½ x (1 + t),  t = tanh(c (x + 0.044715 x³)),  c = √(2/π)
    Gradient: x̄ = ȳ ⊙ (½ (1 + t) + ½ x (1 − t²) c (1 + 3 · 0.044715 x²))
    Shapes:   x (...) -> y (...)
    Saves:    x, t
    Source:   Hendrycks & Gimpel 2016, arXiv:1606.08415; openai/gpt-2 src/model.py
    """
    # In place, because a pass over a fresh array costs more than the arithmetic; x * x * x, because
    # a power is nine times slower.
    t = xp.multiply(x, x, out=xp.empty_like(x))
    t *= CUBIC
    t += 1
    t *= x
    t *= SQRT_2_OVER_PI
    xp.tanh(t, out=t)
    y = t + 1
    y *= x
    y *= 0.5

    def grad_x(g):
        slope = x * x
        slope *= 3 * CUBIC
        slope += 1
        slope *= x
        slope *= 0.5 * SQRT_2_OVER_PI  # ½ x · d(inner)/dx
        d = t * t
        d -= 1
        slope *= d  # −½ x (1 − t²) d(inner)/dx
        d = t + 1
        d *= 0.5
        d -= slope
        d *= g
        return d

    return y, (grad_x,)


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
