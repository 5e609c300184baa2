"""Layer normalisation."""

import math

from tinygrad_gpt.autograd import op
from tinygrad_gpt.errors import ShapeError
from tinygrad_gpt.ops.elementwise import sqrt
from tinygrad_gpt.ops.matmul import sum_rows
from tinygrad_gpt.ops.reduce import mean

__all__ = ["layer_norm"]


def _layer_norm_composed(x, weight, bias, *, eps=1e-5):
    centred = x - mean(x, axis=-1, keepdims=True)
    variance = mean(centred * centred, axis=-1, keepdims=True)
    return weight * (centred / sqrt(variance + eps)) + bias


def _row_means(xp, a):
    """(N, C) -> (N, 1), as a matrix product, which takes a third of the time of ``a.mean``."""
    return a @ xp.ones((a.shape[1], 1), dtype=a.dtype) / a.shape[1]


@op(samples=lambda r: [(r.normal(2, 3, 4), r.normal(4), r.normal(4)), (r.normal(5), r.normal(5), r.normal(5))],
    errors=lambda r: [((r.normal(2, 3), r.normal(4), r.normal(4)),
                       "op 'layer_norm': last axis of x is 3 (x is (2, 3)) but weight is (4,) and bias (4,)")],
    composed=_layer_norm_composed)
def layer_norm(xp, x, weight, bias, *, eps=1e-5):
    """Normalise the last axis to zero mean and unit variance, then scale and shift.

    Forward:  x̂ = (x − μ) / √(σ² + ε),  y = γ ⊙ x̂ + β
    Gradient: β̄ = Σ ȳ,  γ̄ = Σ ȳ ⊙ x̂,
              x̄ = (d − mean(d) − x̂ ⊙ mean(d ⊙ x̂)) / √(σ² + ε),  d = ȳ ⊙ γ
    Shapes:   x (..., C), γ (C), β (C) -> y (..., C)
    Saves:    x_hat, rstd, weight
    Source:   Ba et al. 2016, arXiv:1607.06450
    """
    if not (x.ndim and x.shape[-1:] == weight.shape == bias.shape != (0,)):
        raise ShapeError(f"op 'layer_norm': last axis of x is {x.shape[-1] if x.ndim else 'missing'} (x is {x.shape}) "
                         f"but weight is {weight.shape} and bias {bias.shape}")
    shape = x.shape
    flat = math.prod(shape[:-1]), shape[-1]  # (N, C)
    x = x.reshape(flat)
    x_hat = x - _row_means(xp, x)
    y = x_hat * x_hat
    rstd = 1 / xp.sqrt(_row_means(xp, y) + eps)  # (N, 1)
    x_hat *= rstd
    xp.multiply(x_hat, weight, out=y)
    y += bias

    def grad_x(g):
        d = g.reshape(flat) * weight
        along = d * x_hat
        xp.multiply(x_hat, _row_means(xp, along), out=along)
        d -= _row_means(xp, d)
        d -= along
        d *= rstd
        return d.reshape(shape)

    def grad_weight(g):
        return sum_rows(xp, g.reshape(flat) * x_hat)

    def grad_bias(g):
        return sum_rows(xp, g.reshape(flat))

    return y.reshape(shape), (grad_x, grad_weight, grad_bias)
