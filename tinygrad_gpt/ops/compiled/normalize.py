"""Layer normalisation in two passes over each row."""

import math

from tinygrad_gpt.engine import compiled
from tinygrad_gpt.ops.compiled import kernels

__all__ = ["layer_norm"]


@compiled("layer_norm")
def layer_norm(xp, x, weight, bias, *, eps=1e-5):
    """Op 'layer_norm'; all three gradients are made in one pass over the rows."""
    shape, flat = x.shape, (math.prod(x.shape[:-1]), x.shape[-1])  # (N, C)
    x_hat, y = xp.empty(flat, dtype=x.dtype), xp.empty(flat, dtype=x.dtype)
    rstd = xp.empty(flat[0], dtype=x.dtype)
    weight = xp.ascontiguousarray(weight)
    kernels.layer_norm(xp.ascontiguousarray(x.reshape(flat)), weight, xp.ascontiguousarray(bias), x.dtype.type(eps),
                       x_hat, y, rstd)

    def grads(g):
        grad_x, grad_weight, grad_bias = xp.empty_like(x_hat), xp.zeros_like(weight), xp.zeros_like(weight)
        kernels.layer_norm_grads(xp.ascontiguousarray(g.reshape(flat)), x_hat, weight, rstd, grad_x, grad_weight,
                                 grad_bias)
        return grad_x.reshape(shape), grad_weight, grad_bias

    return y.reshape(shape), grads
