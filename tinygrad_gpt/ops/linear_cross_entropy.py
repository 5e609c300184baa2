"""The loss of a language model, from the activations that its logits are made of."""

import math

from tinygrad_gpt.engine import op
from tinygrad_gpt.errors import ShapeError
from tinygrad_gpt.ops.softmax import check_targets

__all__ = ["linear_cross_entropy"]


def _linear_cross_entropy_samples(r):
    x, weight, targets = r.normal(4, 3), r.normal(5, 3), r.integers(5, 4)
    ignored = targets.copy()
    ignored[1] = -100
    return [(x, weight, targets), (x, weight, ignored), (r.normal(2, 3, 2), r.normal(5, 2), r.integers(5, 2, 3)),
            (x, weight, targets, {"ignore_index": 2})]


def _check(x, weight, targets, ignore_index=-100):
    if x.ndim == 0 or weight.ndim != 2 or x.shape[-1] != weight.shape[1]:
        raise ShapeError(f"op 'linear_cross_entropy': x is {x.shape} but weight is {weight.shape}, expected "
                         f"(V, {x.shape[-1] if x.ndim else 'C'})")
    check_targets("linear_cross_entropy", "x is", x, targets, weight.shape, ignore_index)


@op(samples=_linear_cross_entropy_samples,
    errors=lambda r: [((r.normal(2, 4), r.normal(5, 3), r.integers(5, 2)),
                       "x is (2, 4) but weight is (5, 3), expected (V, 4)"),
                      ((r.normal(2, 3), r.normal(5, 3), r.integers(5, 4)), "x is (2, 3) but targets are (4,)"),
                      ((r.normal(2, 3), r.normal(5, 3), r.integers(5, 2) + 5), "outside 0 … 4"),
                      ((r.normal(2, 3), r.normal(5, 3), r.normal(2)), "targets are float64, expected integers")],
    check=_check)
def linear_cross_entropy(xp, x, weight, targets, *, ignore_index=-100):
    """Cross-entropy of the logits x Wᵀ.

    Forward:  y = −Σ_n s_n ln softmax(z_n)[t_n],  z = x Wᵀ,  s_n = 1 / number of rows that count, 0 where ignored
    Gradient: x̄ = z̅ W,  W̄ = z̅ᵀ x,  z̅_nv = ȳ s_n (softmax(z_n)_v − [v = t_n])
    Shapes:   x (..., C), weight (V, C), targets (...) integers -> y ()
    Saves:    x, weight, log_p, share, one_hot
    Source:   Wijmans et al. 2024, arXiv:2411.09009; Hsu et al. 2024, arXiv:2410.10989
    """
    counted = (targets != ignore_index).astype(x.dtype)[..., None]  # (..., 1)
    total = counted.sum()
    share = counted / (total + (total == 0))  # all ignored: 0 / 1
    one_hot = (targets[..., None] == xp.arange(weight.shape[0])).astype(x.dtype)  # (..., V)
    z = x @ weight.T
    shifted = z - z.max(axis=-1, keepdims=True)
    log_p = shifted - xp.log(xp.exp(shifted).sum(axis=-1, keepdims=True))
    rows, (n_classes, width) = math.prod(x.shape[:-1]), weight.shape

    def grads(g):
        z_grad = g * share * (xp.exp(log_p) - one_hot)  # y = −Σ share ln softmax(z)[target]
        weight_grad = z_grad.reshape(rows, n_classes).T @ x.reshape(rows, width)  # z = x Wᵀ
        return z_grad @ weight, weight_grad, None  # z = x Wᵀ

    in_sum = xp.where(share * one_hot > 0, log_p, 0.0)  # 0 · ∞ would be NaN
    return -(share * in_sum).sum(), grads
