"""The gradient of an embedding's table, sorted by id, or by atomic sums."""

import numpy as np

from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.engine import cuda
from tinygrad_gpt.ops.cuda.launch import THREADS, Kernels, accumulator

__all__ = ["embedding"]

KERNELS = Kernels("embedding")


@cuda("embedding")
def embedding(xp, weight, ids):
    """Op 'embedding'; saves ids."""
    shape, n = weight.shape, ids.size

    def grad_weight(g):
        g, flat = xp.ascontiguousarray(g), ids.reshape(n).astype(np.int64, copy=False)
        grid = n, -(-shape[1] // THREADS)
        if backend_of(g).deterministic:
            order, grad = xp.argsort(flat), xp.zeros(shape, dtype=g.dtype)
            KERNELS.launch("embedding_grad", g, grid, g, flat[order], order, grad, n, *shape)
            return grad
        grad = xp.zeros(shape, dtype=accumulator(g.dtype))
        KERNELS.launch("embedding_grad_atomic", g, grid, g, xp.ascontiguousarray(flat), grad, *shape)
        return grad.astype(g.dtype, copy=False)

    return weight[ids], (grad_weight, None)
