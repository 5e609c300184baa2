"""The gradient of a selection, without a sum where no element is met twice."""

from tinygrad_gpt.engine import fast

__all__ = ["slice_"]


@fast("slice", takes_halves=True)
def slice_(xp, x, *, index):
    """Op 'slice'; slices and integers meet each element once, so its gradient is written and not added."""
    shape = x.shape
    parts = index if isinstance(index, tuple) else (index,)
    is_basic = all(part is None or part is Ellipsis or isinstance(part, (int, slice)) for part in parts)

    def grad_x(g):
        if not is_basic:
            return xp.scatter(g, index=index, shape=shape)
        selected = xp.zeros(shape, dtype=g.dtype)
        selected[index] = g
        return selected

    return x[index], (grad_x,)
