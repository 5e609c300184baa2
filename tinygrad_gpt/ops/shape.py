"""Ops that move values and change none: reshape, permute, slice, scatter, concat, stack, broadcast_to."""

from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.engine import Tensor, op
from tinygrad_gpt.errors import ShapeError

__all__ = ["broadcast_to", "concat", "permute", "reshape", "scatter", "slice_", "stack", "transpose"]


@op(samples=lambda r: [(r.normal(2, 6), {"shape": (3, 4)}), (r.normal(2, 3, 2), {"shape": (-1, 2)})],
    errors=lambda r: [((r.normal(2, 3), {"shape": (4, 2)}), "cannot reshape array of size 6")], takes_halves=True)
def reshape(xp, x, *, shape):
    """The same values in another shape; one size may be −1.

    Forward:  y = x, read in C order into shape
    Gradient: x̄ = ȳ, read back into the shape of x
    Shapes:   x (...) -> y shape
    Saves:    nothing
    Source:   permutation of indices
    """
    own_shape = x.shape

    def grad_x(g):
        return g.reshape(own_shape)  # y = x in another shape

    return x.reshape(shape), (grad_x,)


@op(samples=lambda r: [(r.normal(2, 3, 4), {"dims": (1, 2, 0)}), (r.normal(2, 3, 4), {"dims": (0, -1, 1)})],
    errors=lambda r: [((r.normal(2, 3), {"dims": (0, 1, 2)}), "axes don't match array")], takes_halves=True)
def permute(xp, x, *, dims):
    """The axes in another order.

    Forward:  y[i_dims[0], i_dims[1], …] = x[i_0, i_1, …]
    Gradient: x̄ = ȳ with the axes permuted back
    Shapes:   x (...) -> y, axes permuted
    Saves:    nothing
    Source:   permutation of indices
    """
    inverse = tuple(sorted(range(len(dims)), key=lambda i: dims[i] % len(dims)))

    def grad_x(g):
        return g.transpose(inverse)  # y = x, axes permuted

    return x.transpose(dims), (grad_x,)


@op(samples=lambda r: [(r.normal(4, 5), {"index": (slice(1, 3), slice(None, None, 2))}),
                       (r.normal(4, 5), {"index": -1}),
                       (r.normal(4, 5), {"index": (Ellipsis, None, 2)}),
                       (r.normal(4, 5), {"index": r.integers(4, 3)}),
                       (r.normal(4, 5), {"index": (r.integers(4, 6), r.integers(5, 6))})],
    errors=lambda r: [((r.normal(2, 3), {"index": 2}), "out of bounds"),
                      ((r.normal(2, 3), {"index": (0, 0, 0)}), "too many indices")], takes_halves=True)
def slice_(xp, x, *, index):
    """Select by slices and integers (a view) or by integer arrays (a copy), as NumPy does.

    Forward:  y = x[index]
    Gradient: x̄ = 0 except x̄[index] += ȳ; an element taken twice gets both gradients
    Shapes:   x (...) -> y, by NumPy's rules for indexing
    Saves:    index
    Source:   adjoint of selection
    """
    shape = x.shape

    def grad_x(g):
        return xp.scatter(g, index=index, shape=shape)  # y = x[index]

    return x[index], (grad_x,)


def _check_scatter(values, *, index, shape):
    xp = backend_of(values).xp
    selected = xp.broadcast_to(xp.zeros((), dtype=bool), shape)[index].shape
    if values.shape != selected:
        raise ShapeError(f"op 'scatter': values are {values.shape} but the index selects {selected} of {shape}")


@op(samples=lambda r: [(r.normal(3), {"index": r.integers(5, 3), "shape": (5,)}),
                       (r.normal(2, 3), {"index": (slice(None), r.integers(4, 3)), "shape": (2, 4)}),
                       (r.normal(2, 2), {"index": (slice(1, 3), slice(0, 4, 2)), "shape": (4, 5)})],
    errors=lambda r: [((r.normal(2), {"index": (0, 0, 0), "shape": (2, 2)}), "too many indices"),
                      ((r.normal(2), {"index": 0, "shape": (2, 3)}), "values are (2,) but the index selects (3,)")],
    check=_check_scatter, takes_halves=True)
def scatter(xp, values, *, index, shape):
    """Add values into zeros: what `slice` does, in the other direction.

    Forward:  y = 0 except y[index] += values; an element met twice gets both
    Gradient: v̄ = ȳ[index]
    Shapes:   values, of the shape of y[index] -> y shape
    Saves:    index
    Source:   adjoint of selection
    """
    def grad_values(g):
        return g[index]  # y[index] += values

    return xp.scatter(values, index=index, shape=shape), (grad_values,)


@op(samples=lambda r: [(r.normal(2, 3), r.normal(1, 3), {"axis": 0}), (r.normal(2, 1), r.normal(2, 3), {"axis": -1})],
    errors=lambda r: [((r.normal(2, 3), r.normal(2, 4), {"axis": 0}), "dimensions")], takes_halves=True)
def concat(xp, *arrays, axis=0):
    """Join along an axis that they have.

    Forward:  y = arrays one after the other along axis
    Gradient: each array's gradient is its stretch of ȳ
    Shapes:   arrays, equal except along axis -> y
    Saves:    nothing
    Source:   adjoint of selection
    """
    y = xp.concatenate(arrays, axis=axis)
    sizes, before = [a.shape[axis] for a in arrays], (slice(None),) * (axis % y.ndim)

    def grads(g):
        ends = [sum(sizes[:i + 1]) for i in range(len(sizes))]  # y = arrays, one behind the other
        return [g[(*before, slice(end - size, end))] for end, size in zip(ends, sizes, strict=True)]  # y[…] = array

    return y, grads


@op(samples=lambda r: [(r.normal(2, 3), r.normal(2, 3), {"axis": 0}), (r.normal(2, 3), r.normal(2, 3), {"axis": -1})],
    errors=lambda r: [((r.normal(2, 3), r.normal(2, 4)), "same shape")], takes_halves=True)
def stack(xp, *arrays, axis=0):
    """Join along a new axis.

    Forward:  y[…, i, …] = arrays[i]
    Gradient: each array's gradient is its index of ȳ along axis
    Shapes:   n arrays (...) -> y with n at axis
    Saves:    nothing
    Source:   adjoint of selection
    """
    y = xp.stack(arrays, axis=axis)
    n, before = len(arrays), (slice(None),) * (axis % y.ndim)

    def grads(g):
        return [g[(*before, i)] for i in range(n)]  # y[…, i, …] = arrays[i]

    return y, grads


@op(samples=lambda r: [(r.normal(3, 1), {"shape": (2, 3, 4)}), (r.normal(), {"shape": (2,)}),
                       (r.normal(2, 1), {"shape": (2, 3)})],
    errors=lambda r: [((r.normal(2, 3), {"shape": (4,)}), "broadcast")], broadcasts=True,
    takes_halves=True)
def broadcast_to(xp, x, *, shape):
    """Repeat along axes of size 1 and new leading axes.

    Forward:  y = x, repeated to shape
    Gradient: x̄ = Σ ȳ over the repeated axes (summed by the engine)
    Shapes:   x (broadcast) -> y shape
    Saves:    nothing
    Source:   adjoint of repetition
    """
    def grad_x(g):
        return g  # y = x, repeated; the engine sums g

    return xp.broadcast_to(x, shape=shape), (grad_x,)


def transpose(x, dim0, dim1):
    """Exchange two axes of a tensor, as ``Tensor.transpose`` does."""
    return (x if isinstance(x, Tensor) else Tensor(x)).transpose(dim0, dim1)
