"""GELU, one launch forward and one backward."""

import math

from tinygrad_gpt.backend import Array
from tinygrad_gpt.engine import cuda
from tinygrad_gpt.ops.cuda.launch import THREADS, Kernels

__all__ = ["bias_gelu", "gelu", "write_bias_gelu"]

KERNELS = Kernels("activation")


@cuda("gelu")
def gelu(xp, x):
    """Op 'gelu'; saves x."""
    x = xp.ascontiguousarray(x)
    y = xp.empty(x.shape, dtype=x.dtype)
    KERNELS.elementwise("gelu", x, x, y)

    def grad_x(g):
        grad = xp.empty(g.shape, dtype=g.dtype)
        KERNELS.elementwise("gelu_grad", x, xp.ascontiguousarray(g), x, grad)
        return grad

    return y, (grad_x,)


@cuda("bias_gelu")
def bias_gelu(xp, x, bias):
    """Op 'bias_gelu'; saves x and bias."""
    x, bias = xp.ascontiguousarray(x), xp.ascontiguousarray(bias)
    flat = math.prod(x.shape[:-1]), x.shape[-1]  # (N, C)
    y = xp.empty(x.shape, dtype=x.dtype)
    write_bias_gelu(x, bias, y)

    def grads(g):
        grad_x = xp.empty(g.shape, dtype=g.dtype)
        grad_bias, = KERNELS.sum_rows("bias_gelu_grad", x, flat, 1, xp.ascontiguousarray(g), x, bias, grad_x)
        return grad_x, grad_bias

    return y, grads


def write_bias_gelu(x: Array, bias: Array, y: Array) -> None:
    """y = gelu(x + bias), of C-ordered x (..., C); a thread takes 16 bytes."""
    columns = x.shape[-1]
    packs = -(-columns * x.itemsize // 16)  # of a row
    KERNELS.launch("bias_gelu", x, (math.prod(x.shape[:-1]), -(-packs // THREADS)), x, bias, y, columns)
