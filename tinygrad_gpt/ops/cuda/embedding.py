"""The gradient of an embedding's table, sorted by id, or by atomic sums."""

import numpy as np

from tinygrad_gpt.backend import Array, backend_of
from tinygrad_gpt.engine import cuda
from tinygrad_gpt.engine.pending import RowGradient
from tinygrad_gpt.ops.cuda.launch import THREADS, Kernels, accumulator

__all__ = ["embedding"]

KERNELS = Kernels("embedding")


@cuda("embedding")
def embedding(xp, weight, ids):
    """Op 'embedding', with a sparse gradient; saves ids."""
    shape, n = weight.shape, ids.size

    def grad_weight(g):
        return SortedRows(shape, xp.ascontiguousarray(ids.reshape(n).astype(np.int64, copy=False)),
                          xp.ascontiguousarray(g.reshape(n, shape[1])))

    return weight[ids], (grad_weight, None)


class SortedRows(RowGradient):
    """Rows whose sums are made by a kernel, in one order only, unless the backend need not be deterministic."""

    def add_to(self, total: Array) -> Array:
        """Add it to an array (V, C) in place."""
        g, ids, grid = self.values, self.rows, (len(self.rows), -(-self.shape[1] // THREADS))
        if backend_of(g).deterministic and len(ids):
            order = backend_of(g).xp.argsort(ids)
            KERNELS.launch("embedding_grad", g, grid, g, ids, order, total, len(ids), *self.shape)
            return total
        sums = total.astype(accumulator(g.dtype), copy=False)
        KERNELS.launch("embedding_grad_atomic", g, grid, g, ids, sums, *self.shape)
        if sums.dtype != total.dtype:
            total[...] = sums
        return total
