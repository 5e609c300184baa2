"""Methods of a Tensor that reduce, sort and multiply, with PyTorch's arguments, or NumPy's.

Where the two differ, the keyword decides: ``x.max(axis=1)`` is NumPy's and gives the values, ``x.max(1)`` and
``x.max(dim=1)`` are PyTorch's and give values and indices.
"""

import math
from typing import Any, NamedTuple

from tinygrad_gpt.engine.binding import axis_of
from tinygrad_gpt.engine.operators import OPS
from tinygrad_gpt.engine.pytorch.elementwise import Elementwise
from tinygrad_gpt.errors import ShapeError

__all__ = ["Methods", "ValuesAndIndices"]


class ValuesAndIndices(NamedTuple):
    """What `max`, `min`, `sort` and `topk` give along an axis."""

    values: Any
    indices: Any


class Methods(Elementwise):
    """What a Tensor inherits: reductions, sorting and products."""

    __slots__ = ()

    # -- reductions

    def any(self, dim=None, keepdim=False, *, axis=None, keepdims=False):
        """Whether any value is not 0, over one axis, several, or all."""
        return self._off_tape("any", axis=axis_of(dim, axis), keepdims=keepdim or keepdims)

    def all(self, dim=None, keepdim=False, *, axis=None, keepdims=False):
        """Whether no value is 0, over one axis, several, or all."""
        return self._off_tape("all", axis=axis_of(dim, axis), keepdims=keepdim or keepdims)

    def count_nonzero(self, dim=None):
        """How many values are not 0."""
        return self._off_tape("count_nonzero", axis=axis_of(dim, None))

    def sum(self, dim=None, keepdim=False, *, dtype=None, axis=None, keepdims=False):
        """Sum over one axis, several, or all."""
        x = self if dtype is None else self.astype(dtype)
        return OPS["sum"](x, axis=axis_of(dim, axis), keepdims=keepdim or keepdims)

    def mean(self, dim=None, keepdim=False, *, dtype=None, axis=None, keepdims=False):
        """Arithmetic mean over one axis, several, or all."""
        x = self if dtype is None else self.astype(dtype)
        return OPS["mean"](x, axis=axis_of(dim, axis), keepdims=keepdim or keepdims)

    def logsumexp(self, dim=None, keepdim=False, *, axis=None, keepdims=False):
        """Logarithm of the sum of exponentials, without overflow."""
        return OPS["logsumexp"](self, axis=axis_of(dim, axis), keepdims=keepdim or keepdims)

    def softmax(self, dim=-1, *, axis=None):
        """Exponentials along an axis, scaled to sum to one."""
        return OPS["softmax"](self, axis=axis_of(dim, axis))

    def log_softmax(self, dim=-1, *, axis=None):
        """Logarithm of the softmax, without overflow."""
        return OPS["log_softmax"](self, axis=axis_of(dim, axis))

    def amax(self, dim=None, keepdim=False, *, axis=None, keepdims=False):
        """Largest values; equal ones share the gradient evenly."""
        return OPS["max"](self, axis=axis_of(dim, axis), keepdims=keepdim or keepdims)

    def amin(self, dim=None, keepdim=False, *, axis=None, keepdims=False):
        """Smallest values; equal ones share the gradient evenly."""
        return -(-self).amax(axis_of(dim, axis), keepdim or keepdims)

    def max(self, dim=None, keepdim=False, *, axis=None, keepdims=False):
        """The largest value; with ``dim`` also where it is; with a tensor the larger of both."""
        if hasattr(dim, "shape"):
            return self.maximum(dim)
        if dim is None:
            return self.amax(axis, keepdim or keepdims)
        return self._found(self.argmax(dim, True), dim, keepdim)

    def min(self, dim=None, keepdim=False, *, axis=None, keepdims=False):
        """The smallest value; with ``dim`` also where it is; with a tensor the smaller of both."""
        if hasattr(dim, "shape"):
            return self.minimum(dim)
        if dim is None:
            return self.amin(axis, keepdim or keepdims)
        return self._found(self.argmin(dim, True), dim, keepdim)

    def _found(self, indices, dim, keepdim):
        found = ValuesAndIndices(self.gather(dim, indices), indices)
        return found if keepdim else ValuesAndIndices(*(part.squeeze(dim) for part in found))

    def argmax(self, dim=None, keepdim=False, *, axis=None, keepdims=False):
        """Where the first of the largest values is."""
        return self._off_tape("argmax", axis=axis_of(dim, axis), keepdims=keepdim or keepdims)

    def argmin(self, dim=None, keepdim=False, *, axis=None, keepdims=False):
        """Where the first of the smallest values is."""
        return self._off_tape("argmin", axis=axis_of(dim, axis), keepdims=keepdim or keepdims)

    def var(self, dim=None, *, correction=1, keepdim=False, axis=None, keepdims=False, unbiased=True):
        """Mean squared distance from the mean, over n − ``correction`` values; of one value NaN, as in PyTorch."""
        distance, n = self._distance(dim, axis, correction if unbiased else 0)
        return distance.square().sum(axis_of(dim, axis), keepdim or keepdims) / n

    def std(self, dim=None, *, correction=1, keepdim=False, axis=None, keepdims=False, unbiased=True):
        """Square root of the variance; where it is 0 the gradient is 0."""
        distance, n = self._distance(dim, axis, correction if unbiased else 0)
        return OPS["norm"](distance, axis=axis_of(dim, axis), keepdims=keepdim or keepdims) / n ** 0.5

    def _distance(self, dim, axis, correction):
        """The distance from the mean, and by how much its squares are divided; at least 0."""
        axis = axis_of(dim, axis)
        mean = OPS["mean"](self, axis=axis, keepdims=True)
        return self - mean, max(0, math.prod(self.shape) // max(1, mean.size) - correction)

    def norm(self, p=2, dim=None, keepdim=False, *, axis=None, keepdims=False):
        """The p-norm of the values along axes, or of all; the gradient at 0 is 0."""
        axis, keepdims = axis_of(dim, axis), keepdim or keepdims
        if p in (2, "fro"):
            return OPS["norm"](self, axis=axis, keepdims=keepdims)
        if p in (math.inf, -math.inf):
            return OPS["abs"](self).amax(axis, keepdims) if p > 0 else OPS["abs"](self).amin(axis, keepdims)
        if p == 0:
            return OPS["sum"]((self._data != 0).astype(self._data.dtype), axis=axis, keepdims=keepdims)
        total = OPS["sum"](OPS["abs"](self) ** p, axis=axis, keepdims=keepdims)
        return total if p == 1 else total ** (1 / p)

    def prod(self, dim=None, keepdim=False, *, axis=None, keepdims=False):
        """Product along an axis, or of all values, multiplied in pairs: a value of 0 needs no rule of its own."""
        dim = axis_of(dim, axis)
        x = self.flatten() if dim is None else self.movedim(dim, 0)
        n = x.shape[0]
        while n > 1:
            pairs = x[:n // 2] * x[n // 2:n - n % 2]
            x = OPS["concat"](pairs, x[n - 1:]) if n % 2 else pairs
            n = x.shape[0]
        y = x[0] if n else OPS["sum"](x, axis=0) + 1
        if not (keepdim or keepdims):
            return y
        return y.reshape((1,) * self.ndim) if dim is None else y.unsqueeze(dim)

    def cumsum(self, dim=None, *, axis=None):
        """Running sums along an axis."""
        return OPS["cumsum"](self, axis=axis_of(dim, axis))

    # -- order

    def argsort(self, dim=-1, descending=False, stable=True):
        """The indices that sort an axis; equal values keep their order."""
        x = self.flip(dim) if descending else self  # flipped twice, so that equal values keep their order
        order = x._off_tape("argsort", axis=dim, kind="stable")
        return order.shape[dim] - 1 - order.flip(dim) if descending else order

    def sort(self, dim=-1, descending=False, stable=True):
        """The values of an axis in order, and where they were."""
        order = self.argsort(dim, descending)
        return ValuesAndIndices(self.gather(dim, order), order)

    def topk(self, k, dim=-1, largest=True, sorted=True):
        """The k largest or smallest values of an axis, in order, and where they were."""
        n = self.shape[self._dim(dim, "topk")]
        if not 0 <= k <= n:
            raise ShapeError(f"topk: k is {k} but axis {dim} has {n} values")
        order = self.argsort(dim, descending=largest).narrow(dim, 0, k)
        return ValuesAndIndices(self.gather(dim, order), order)

    # -- products

    def matmul(self, other):
        """Matrix product over the last two axes, as ``@``."""
        return OPS["matmul"](self, other)

    def mm(self, other):
        """Product of two matrices."""
        return self._product("mm", other, 2, 2)

    def bmm(self, other):
        """Products of the matrices of two batches."""
        return self._product("bmm", other, 3, 3)

    def mv(self, other):
        """Product of a matrix and a vector."""
        return self._product("mv", other, 2, 1)

    def dot(self, other):
        """Scalar product of two vectors."""
        return self._product("dot", other, 1, 1)

    def outer(self, other):
        """Products of each value of one vector with each of another."""
        return self.reshape(-1, 1) * other.reshape(1, -1)

    def _product(self, name, other, own_axes, other_axes):
        if (self.ndim, other.ndim) != (own_axes, other_axes):
            raise ShapeError(f"{name}: needs {own_axes} axes and {other_axes}, got {self.shape} and {other.shape}; "
                             "matmul takes any")
        return OPS["matmul"](self, other)
