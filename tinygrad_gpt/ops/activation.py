"""Activations: sigmoid, relu, GELU."""

import math

from tinygrad_gpt.engine import op
from tinygrad_gpt.errors import ShapeError

__all__ = ["bias_gelu", "gelu", "gelu_exact", "relu", "sigmoid"]

SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
CUBIC = 0.044715


@op(samples=lambda r: [(r.normal(2, 3),)], errors=lambda r: [(("text",), "give numbers")])
def sigmoid(xp, x):
    """Logistic function, from e to the power of −|x|: that cannot overflow, and a small y keeps its digits.

    Forward:  y = 1 / (1 + e⁻ˣ) = eˣ / (1 + eˣ)
    Gradient: x̄ = ȳ ⊙ y ⊙ (1 − y)
    Shapes:   x (...) -> y (...)
    Saves:    y
    Source:   calculus
    """
    e = xp.exp(-xp.abs(x))
    y = xp.where(x >= 0, 1.0, e) / (1 + e)

    def grad_x(g):
        return g * y * (1 - y)  # y = 1 / (1 + e⁻ˣ)

    return y, (grad_x,)


@op(samples=lambda r: [(r.normal(2, 3),)], errors=lambda r: [(("text",), "give numbers")])
def relu(xp, x):
    """Rectifier, with derivative 0 at 0.

    Forward:  y = max(x, 0)
    Gradient: x̄ = ȳ where x > 0, else 0
    Shapes:   x (...) -> y (...)
    Saves:    y
    Source:   sub-gradient, 0 at 0 as in PyTorch
    """
    y = xp.maximum(x, 0)

    def grad_x(g):
        return xp.where(y <= 0, 0.0, g)  # y = max(x, 0)

    return y, (grad_x,)


@op(samples=lambda r: [(r.normal(2, 3),), (r.normal(1 << 16 | 3),)], errors=lambda r: [(("text",), "give numbers")])
def gelu(xp, x):
    """Gaussian error linear unit in the tanh form, GPT-2's activation.

    Forward:  y = x h,  h = ½ (1 + tanh u),  u = c (x + 0.044715 x³),  c = √(2/π)
    Gradient: x̄ = ȳ ⊙ (h + x h′),  h′ = 2 h (1 − h) u′,  u′ = c (1 + 3 · 0.044715 x²)
    Shapes:   x (...) -> y (...)
    Saves:    x, h
    Source:   Hendrycks & Gimpel 2016, arXiv:1606.08415; openai/gpt-2 src/model.py
    """
    h = 0.5 * (1 + xp.tanh(SQRT_2_OVER_PI * (x + CUBIC * x * x * x)))

    def grad_x(g):
        u_slope = SQRT_2_OVER_PI * (1 + 3 * CUBIC * x * x)  # u = c (x + 0.044715 x³)
        h_slope = 2 * h * (1 - h) * u_slope  # h = ½ (1 + tanh u)
        return g * (h + x * h_slope)  # y = x h

    return x * h, (grad_x,)


def _check_bias(x, bias):
    if not (x.ndim and x.shape[-1:] == bias.shape):
        raise ShapeError(f"op 'bias_gelu': last axis of x is {x.shape[-1] if x.ndim else 'missing'} (x is {x.shape}) "
                         f"but bias is {bias.shape}")


@op(samples=lambda r: [(r.normal(2, 3), r.normal(3)), (r.normal(4), r.normal(4)),
                       (r.normal(2, 119, 35), r.normal(35))],  # more rows than a CUDA block sums
    errors=lambda r: [((r.normal(2, 3), r.normal(2)), "last axis of x is 3 (x is (2, 3)) but bias is (2,)")],
    check=_check_bias)
def bias_gelu(xp, x, bias):
    """GELU of x + b: what follows the matrix product of a feed-forward layer, in one pass.

    Forward:  y = gelu(z),  z = x + b
    Gradient: x̄ = z̄,  b̄ = Σ z̄,  z̄ = ȳ ⊙ gelu′(z)
    Shapes:   x (..., C), bias (C) -> y (..., C)
    Saves:    x, h
    Source:   op 'gelu'; Shoeybi et al. 2019, arXiv:1909.08053, section 3
    """
    y, (gelu_grad,) = gelu.function(xp, x + bias)
    rows = tuple(range(x.ndim - 1))

    def grads(g):
        z_grad = gelu_grad(g)  # y = gelu(z)
        return z_grad, z_grad.sum(axis=rows)  # z = x + b

    return y, grads


@op(samples=lambda r: [(r.normal(2, 3),)], errors=lambda r: [(("text",), "give numbers")])
def gelu_exact(xp, x):
    """Gaussian error linear unit with the normal distribution itself.

    Forward:  y = x Φ(x),  Φ(x) = ½ (1 + erf(x / √2))
    Gradient: x̄ = ȳ ⊙ (Φ(x) + x φ(x)),  φ(x) = Φ′(x) = e^(−x²/2) / √(2π)
    Shapes:   x (...) -> y (...)
    Saves:    x, cdf
    Source:   Hendrycks & Gimpel 2016, arXiv:1606.08415
    """
    cdf = 0.5 * (1 + xp.erf(x * math.sqrt(0.5)))

    def grad_x(g):
        density = xp.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))  # Φ(x) = ½ (1 + erf(x / √2))
        return g * (cdf + x * density)  # y = x Φ(x)

    return x * cdf, (grad_x,)
