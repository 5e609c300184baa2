"""Embedding: rows of a table by id."""

import numpy as np

from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.engine import op, values_are_checked
from tinygrad_gpt.engine.tape import RowGradient
from tinygrad_gpt.errors import DTypeError, ShapeError
from tinygrad_gpt.ops.kernels import THREADS, Kernels, accumulator

__all__ = ["embedding"]

KERNELS = Kernels(__file__)


def _embedding_composed(weight, ids):
    return weight[ids]


def _check(weight, ids):
    if weight.ndim != 2:
        raise ShapeError(f"op 'embedding': weight is {weight.shape}, expected (V, C)")
    if ids.dtype.kind not in "iu":
        raise DTypeError(f"op 'embedding': ids are {ids.dtype}, expected integers")
    if values_are_checked(ids) and ids.size and not (ids.min() >= 0 and ids.max() < weight.shape[0]):
        raise ShapeError(f"op 'embedding': ids hold {ids.min()} … {ids.max()}, outside 0 … {weight.shape[0] - 1} "
                         f"(weight is {weight.shape})")


def _embedding_cuda(xp, weight, ids):
    _check(weight, ids)
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


@op(samples=lambda r: [(r.normal(5, 3), r.integers(5, 2, 4)), (r.normal(5, 3), r.integers(5, 6))],
    errors=lambda r: [((r.normal(5, 3), r.integers(5, 2) + 5), "outside 0 … 4"),
                      ((r.normal(5, 3), r.integers(5, 2) - 9), "outside 0 … 4"),
                      ((r.normal(5, 3), r.normal(2)), "ids are float64, expected integers"),
                      ((r.normal(5), r.integers(5, 2)), "weight is (5,), expected (V, C)")],
    composed=_embedding_composed, cuda=_embedding_cuda)
def embedding(xp, weight, ids):
    """Rows of ``weight`` by id. Negative ids are refused: NumPy would silently read from the end.

    Forward:  y[…] = W[ids[…]]
    Gradient: W̄ = 0 except W̄[ids[…]] += ȳ[…]; a row used twice gets both gradients
    Shapes:   weight (V, C), ids (...) integers -> y (..., C)
    Saves:    ids
    Source:   adjoint of selection
    """
    _check(weight, ids)
    shape = weight.shape

    def grad_weight(g):
        return RowGradient(shape, ids.reshape(ids.size), g.reshape(ids.size, shape[1]))

    return weight[ids], (grad_weight, None)
