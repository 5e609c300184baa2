"""Layer normalisation."""

from tinygrad_gpt.engine import op
from tinygrad_gpt.errors import ShapeError

__all__ = ["layer_norm"]


def _check(x, weight, bias, eps=None):
    if x.ndim and x.shape[-1] == 0:
        raise ShapeError(f"op 'layer_norm': the last axis of x is empty (x is {x.shape}), so it has no mean; give at "
                         "least one value in a row")
    if not (x.ndim and x.shape[-1:] == weight.shape == bias.shape):
        raise ShapeError(f"op 'layer_norm': last axis of x is {x.shape[-1] if x.ndim else 'missing'} (x is {x.shape}) "
                         f"but weight is {weight.shape} and bias {bias.shape}")


@op(samples=lambda r: [(r.normal(2, 3, 4), r.normal(4), r.normal(4)), (r.normal(5), r.normal(5), r.normal(5)),
                       (r.normal(2, 119, 35), r.normal(35), r.normal(35))],  # more rows than a CUDA block sums
    errors=lambda r: [((r.normal(2, 3), r.normal(4), r.normal(4)),
                       "op 'layer_norm': last axis of x is 3 (x is (2, 3)) but weight is (4,) and bias (4,)"),
                      ((r.normal(2, 0), r.normal(0), r.normal(0)),
                       "the last axis of x is empty (x is (2, 0)), so it has no mean; give at least one value")],
    check=_check)
def layer_norm(xp, x, weight, bias, *, eps=1e-5):
    """Normalise the last axis to zero mean and unit variance, then scale and shift.

    Forward:  x̂ = (x − μ) / √(σ² + ε),  y = γ ⊙ x̂ + β
    Gradient: β̄ = Σ ȳ,  γ̄ = Σ ȳ ⊙ x̂,
              x̄ = (d − mean(d) − x̂ ⊙ mean(d ⊙ x̂)) / √(σ² + ε),  d = ȳ ⊙ γ
    Shapes:   x (..., C), γ (C), β (C) -> y (..., C)
    Saves:    x_hat, rstd, weight
    Source:   Ba et al. 2016, arXiv:1607.06450
    """
    centred = x - x.mean(axis=-1, keepdims=True)
    rstd = 1 / xp.sqrt((centred * centred).mean(axis=-1, keepdims=True) + eps)
    x_hat = centred * rstd
    rows = tuple(range(x.ndim - 1))

    def grad_x(g):
        d = g * weight  # y = γ ⊙ x̂ + β
        along = x_hat * (d * x_hat).mean(axis=-1, keepdims=True)  # rstd = 1 / √(mean(centred²) + ε)
        return rstd * (d - d.mean(axis=-1, keepdims=True) - along)  # centred = x − mean(x),  x̂ = centred ⊙ rstd

    def grad_weight(g):
        return (g * x_hat).sum(axis=rows)  # y = γ ⊙ x̂ + β

    def grad_bias(g):
        return g.sum(axis=rows)  # y = γ ⊙ x̂ + β

    return weight * x_hat + bias, (grad_x, grad_weight, grad_bias)
