"""The named methods of a Tensor, with PyTorch's names and arguments; axes may also be given as in NumPy."""

import operator
from typing import Any

from tinygrad_gpt.engine.operators import OPS
from tinygrad_gpt.errors import ShapeError

__all__ = ["Methods"]


class Methods:
    """What a Tensor inherits: ops, and compositions of ops, as methods."""

    __slots__ = ()
    _data: Any
    ndim: Any
    shape: Any

    # -- the same values in another shape or order

    def reshape(self, *shape):
        """The same values in another shape; one size may be −1."""
        return OPS["reshape"](self, shape=_sizes(shape))

    def permute(self, *dims):
        """All axes in another order."""
        return OPS["permute"](self, dims=_sizes(dims))

    def transpose(self, dim0=None, dim1=None, *more):
        """Exchange two axes, as in PyTorch; a tuple gives the order of all axes, as in NumPy and `permute`."""
        if isinstance(dim0, tuple) and dim1 is None:
            return self.permute(dim0)
        if more or not isinstance(dim0, int) or not isinstance(dim1, int):
            given = ", ".join(map(str, (dim0, dim1, *more))) if dim0 is not None else "no axes"
            raise ShapeError(f"transpose: exchanges two axes, got ({given}); use permute for the order of all axes, "
                             ".T to reverse them")
        dims = list(range(self.ndim))
        i, j = (self._dim(dim, "transpose") for dim in (dim0, dim1))
        dims[i], dims[j] = dims[j], dims[i]
        return OPS["permute"](self, dims=tuple(dims))

    swapaxes = swapdims = transpose

    @property
    def T(self):
        """The axes in reversed order."""
        return OPS["permute"](self, dims=tuple(reversed(range(self.ndim))))

    @property
    def mT(self):
        """The last two axes exchanged: each matrix transposed."""
        if self.ndim < 2:
            raise ShapeError(f"mT: needs two axes or more, the tensor is {self.shape}")
        return self.transpose(-2, -1)

    def _dim(self, dim, name, extra=0):
        """An axis counted from 0; ``extra``: axes that the result has more."""
        n = self.ndim + extra
        if not -n <= dim < n:
            raise ShapeError(f"{name}: axis {dim} is out of bounds, the tensor is {self.shape}")
        return operator.index(dim) % n


def _sizes(given):
    """Sizes or axes given one by one, or as one tuple or list."""
    return tuple(given[0]) if len(given) == 1 and isinstance(given[0], (tuple, list)) else given
