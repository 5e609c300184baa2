"""Layer normalisation, a warp for each row."""

import math

from tinygrad_gpt.engine import cuda
from tinygrad_gpt.ops.cuda.launch import THREADS, Kernels, accumulator

__all__ = ["layer_norm"]

KERNELS = Kernels("normalize")


@cuda("layer_norm")
def layer_norm(xp, x, weight, bias, *, eps=1e-5):
    """Op 'layer_norm'; saves x, mean and rstd."""
    shape, flat = x.shape, (math.prod(x.shape[:-1]), x.shape[-1])  # (N, C)
    x, weight, bias = (xp.ascontiguousarray(a) for a in (x, weight, bias))
    y = xp.empty(shape, dtype=x.dtype)
    mean, rstd = (xp.empty(flat[0], dtype=accumulator(x.dtype)) for _ in range(2))
    warps = -(-flat[0] * 32 // THREADS)  # blocks, if each row is for one warp
    KERNELS.launch("layer_norm", x, warps, x, weight, bias, y, mean, rstd, *flat, float(eps))

    def grads(g):
        g, grad_x = xp.ascontiguousarray(g), xp.empty(shape, dtype=g.dtype)
        KERNELS.launch("layer_norm_grad_x", x, warps, g, x, weight, mean, rstd, grad_x, *flat)
        grad_weight, grad_bias = KERNELS.sum_rows("layer_norm_grad_weights", x, flat, 2, g, x, mean, rstd)
        return grad_x, grad_weight, grad_bias

    return y, grads
