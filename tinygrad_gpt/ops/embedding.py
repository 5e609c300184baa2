"""Embedding: rows of a table by id."""

from tinygrad_gpt.engine import op, values_are_checked
from tinygrad_gpt.errors import DTypeError, ShapeError

__all__ = ["embedding"]


def _check(weight, ids):
    if weight.ndim != 2:
        raise ShapeError(f"op 'embedding': weight is {weight.shape}, expected (V, C)")
    if ids.dtype.kind not in "iu":
        raise DTypeError(f"op 'embedding': ids are {ids.dtype}, expected integers")
    if values_are_checked(ids) and ids.size and not (ids.min() >= 0 and ids.max() < weight.shape[0]):
        raise ShapeError(f"op 'embedding': ids hold {ids.min()} … {ids.max()}, outside 0 … {weight.shape[0] - 1} "
                         f"(weight is {weight.shape})")


@op(samples=lambda r: [(r.normal(5, 3), r.integers(5, 2, 4)), (r.normal(5, 3), r.integers(5, 6))],
    errors=lambda r: [((r.normal(5, 3), r.integers(5, 2) + 5), "outside 0 … 4"),
                      ((r.normal(5, 3), r.integers(5, 2) - 9), "outside 0 … 4"),
                      ((r.normal(5, 3), r.normal(2)), "ids are float64, expected integers"),
                      ((r.normal(5), r.integers(5, 2)), "weight is (5,), expected (V, C)")],
    check=_check)
def embedding(xp, weight, ids):
    """Rows of ``weight`` by id. Negative ids are refused: NumPy would silently read from the end.

    Forward:  y[…] = W[ids[…]]
    Gradient: W̄ = 0 except W̄[ids[…]] += ȳ[…]; a row used twice gets both gradients
    Shapes:   weight (V, C), ids (...) integers -> y (..., C)
    Saves:    ids
    Source:   adjoint of selection
    """
    shape = weight.shape

    def grad_weight(g):
        return xp.scatter(g, index=ids, shape=shape)  # y = weight[ids]

    return weight[ids], (grad_weight, None)
