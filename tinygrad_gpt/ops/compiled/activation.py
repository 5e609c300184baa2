"""GELU and its derivative in one pass."""

import math

from tinygrad_gpt.engine import compiled
from tinygrad_gpt.ops.compiled import kernels
from tinygrad_gpt.ops.fast.matmul import sum_rows

__all__ = ["bias_gelu", "gelu", "gelu_exact"]


@compiled("bias_gelu")
def bias_gelu(xp, x, bias):
    """Op 'bias_gelu'; saves slope = gelu′(x + b)."""
    shape, flat = x.shape, (math.prod(x.shape[:-1]), x.shape[-1])  # (N, C)
    y, slope = xp.empty(flat, dtype=x.dtype), xp.empty(flat, dtype=x.dtype)
    kernels.bias_gelu(xp.ascontiguousarray(x.reshape(flat)), xp.ascontiguousarray(bias), y, slope)

    def grads(g):
        grad_z = g.reshape(flat) * slope
        return grad_z.reshape(shape), sum_rows(xp, grad_z)

    return y.reshape(shape), grads


@compiled("gelu")
def gelu(xp, x):
    """Op 'gelu'; saves slope = gelu′(x)."""
    y, slope = xp.empty(x.shape, dtype=x.dtype), xp.empty(x.shape, dtype=x.dtype)
    row = (1, x.size)
    kernels.bias_gelu(xp.ascontiguousarray(x).reshape(row), xp.zeros(x.size, dtype=x.dtype), y.reshape(row),
                      slope.reshape(row))

    def grad_x(g):
        return g * slope

    return y, (grad_x,)


@compiled("gelu_exact")
def gelu_exact(xp, x):
    """Op 'gelu_exact'; saves its derivative."""
    y, slope = xp.empty(x.shape, dtype=x.dtype), xp.empty(x.shape, dtype=x.dtype)
    kernels.gelu_exact(xp.ascontiguousarray(x).reshape(-1), y.reshape(-1), slope.reshape(-1))

    def grad_x(g):
        return g * slope

    return y, (grad_x,)
