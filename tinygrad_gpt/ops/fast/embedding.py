"""The gradient of a table of which few rows were taken, as those rows."""

from tinygrad_gpt.engine import fast
from tinygrad_gpt.engine.pending import RowGradient

__all__ = ["embedding"]


@fast("embedding")
def embedding(xp, weight, ids):
    """Op 'embedding', with a sparse gradient."""
    shape = weight.shape

    def grad_weight(g):
        return RowGradient(shape, ids.reshape(ids.size), g.reshape(ids.size, shape[1]))

    return weight[ids], (grad_weight, None)
