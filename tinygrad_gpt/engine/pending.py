"""Gradients on their way back: sums over several consumers, sparse rows, sums over broadcast axes."""

from collections.abc import Iterable
from heapq import heappush

from tinygrad_gpt.backend import Array, backend_of
from tinygrad_gpt.backend.precision import wide

__all__ = ["Part", "Pending", "RowGradient", "dense", "sum_to"]


class Pending:
    """Gradients that wait for their nodes to be played.

    The first gradient that comes to a node may be memory of somebody else: the very array that was given to the
    pullback, a view, an array of a hook. It is never written to. A sum, and a new array, belong to the node (it *owns*
    it): what comes next is added in place.

    Args:
        roots: pairs of a node and the gradient of its result.

    Attributes:
        queue: a heap of (−order, node).
        grads: the gradient of each node that waits.
        owners: the nodes that own theirs.
    """

    def __init__(self, roots: Iterable[tuple]):
        self.queue: list = []
        self.grads: dict = {}
        self.owners: set = set()
        for node, g in roots:
            self.add(node, g)

    def add(self, node, grad: "Array | RowGradient | Part", given=None) -> None:
        """Add a gradient to that of a node; ``given`` is what the pullback got, which it may have passed on."""
        if is_part := isinstance(grad, Part):
            grad = grad.array
        if isinstance(grad, RowGradient):
            if node in self.owners:
                grad.add_to(self.grads[node])
                return
            grad = dense(grad)
        if node not in self.grads:
            self.grads[node] = grad
            heappush(self.queue, (-node.order, node))
            if given is not None and grad is not given and (grad.base is None or is_part):
                self.owners.add(node)  # a new array: a pullback returns no array that it saved
        elif node in self.owners:
            self.grads[node] += grad
        else:
            self.grads[node] = self.grads[node] + grad
            self.owners.add(node)


class RowGradient:
    """Sparse gradient of a table (V, C): ``values[n]`` is added to row ``rows[n]``; all other rows are zero.

    A pullback may return it in place of an array. It is added to a gradient that is already there, such as that of a
    head tied to the table, without a second table.
    """

    def __init__(self, shape: tuple[int, ...], rows: Array, values: Array):
        self.shape, self.rows, self.values = shape, rows, values

    def add_to(self, total: Array) -> Array:
        """Add it to an array (V, C) in place."""
        backend_of(total).index_add(total, self.rows, self.values)
        return total


class Part:
    """A gradient that is a part of a larger new array, whose other parts are other gradients.

    A pullback may return it in place of a view, which would be copied, since a view may show memory of somebody else.
    """

    def __init__(self, array: Array):
        self.array, self.shape = array, array.shape


def dense(grad: "Array | RowGradient | Part") -> Array:
    """The same gradient as an array."""
    if isinstance(grad, Part):
        return grad.array
    if not isinstance(grad, RowGradient):
        return grad
    return grad.add_to(backend_of(grad.values).xp.zeros(grad.shape, dtype=grad.values.dtype))


def sum_to(g: Array, shape: tuple[int, ...]) -> Array:
    """Undo broadcasting: sum ``g`` over the axes along which an array of ``shape`` was repeated."""
    dtype = g.dtype
    g = g.sum(axis=tuple(range(g.ndim - len(shape))), dtype=wide(dtype))
    repeated = tuple(i for i, size in enumerate(shape) if size == 1 and g.shape[i] != 1)
    return (g.sum(axis=repeated, keepdims=True) if repeated else g).astype(dtype, copy=False)
