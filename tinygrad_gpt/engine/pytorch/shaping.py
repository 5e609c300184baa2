"""Methods of a Tensor that give its values in another shape or order, or some of them, as in PyTorch."""

import math
import operator
from typing import Any

import numpy as np

from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.engine.binding import axis_of
from tinygrad_gpt.engine.mode import current_mode
from tinygrad_gpt.engine.operators import OPS, Operators, raw
from tinygrad_gpt.errors import DTypeError, ShapeError, TapeError

__all__ = ["Shaping"]


class Shaping(Operators):
    """What a Tensor inherits: reshaping, selecting and repeating, in the ops that do so."""

    __slots__ = ()
    ndim: Any
    shape: Any
    astype: Any
    copy_: Any
    _version: Any
    _node: Any

    # -- the same values in another shape or order

    def reshape(self, *sizes, shape=None):
        """The same values in another shape; one size may be −1."""
        return OPS["reshape"](self, shape=_sizes(sizes) if shape is None else shape)

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

    def view(self, *shape):
        """As `reshape`; values that do not lie in order in memory are copied, where PyTorch refuses."""
        return self.reshape(*shape)

    def view_as(self, other):
        """In the shape of another tensor."""
        return self.reshape(other.shape)

    reshape_as = view_as

    def contiguous(self):
        """The tensor itself: no method here needs values in order in memory."""
        return self

    def flatten(self, start_dim=0, end_dim=-1):
        """Join neighbouring axes to one."""
        if not self.ndim:
            return self.reshape(1)
        i, j = self._dim(start_dim, "flatten"), self._dim(end_dim, "flatten")
        if i > j:
            raise ShapeError(f"flatten: start_dim {start_dim} is behind end_dim {end_dim}")
        return self.reshape((*self.shape[:i], math.prod(self.shape[i:j + 1]), *self.shape[j + 1:]))

    def ravel(self):
        """All values in one axis."""
        return self.flatten()

    def unflatten(self, dim, sizes):
        """Split one axis into several."""
        i = self._dim(dim, "unflatten")
        sizes = [*sizes]
        if -1 in sizes:
            sizes[sizes.index(-1)] = self.shape[i] // max(1, -math.prod(sizes))
        return self.reshape((*self.shape[:i], *sizes, *self.shape[i + 1:]))

    def squeeze(self, dim=None, *, axis=None):
        """Remove axes of size 1: all, or those given; an axis of another size stays."""
        dims = axis_of(dim, axis)
        chosen = range(self.ndim) if dims is None else {self._dim(d, "squeeze") for d in _tuple(dims)}
        return self.reshape(tuple(n for i, n in enumerate(self.shape) if n != 1 or i not in chosen))

    def unsqueeze(self, dim):
        """A new axis of size 1."""
        i = self._dim(dim, "unsqueeze", extra=1)
        return self.reshape((*self.shape[:i], 1, *self.shape[i:]))

    def movedim(self, source, destination):
        """Move one axis to another place."""
        i, j = self._dim(source, "movedim"), self._dim(destination, "movedim")
        dims = [d for d in range(self.ndim) if d != i]
        return self.permute((*dims[:j], i, *dims[j:]))

    moveaxis = movedim

    # -- repeated

    def broadcast_to(self, *sizes, shape=None):
        """Repeat along axes of size 1 and new leading axes."""
        return OPS["broadcast_to"](self, shape=_sizes(sizes) if shape is None else shape)

    def expand(self, *sizes):
        """Repeat along axes of size 1 and new leading axes; −1 keeps a size."""
        sizes = _sizes(sizes)
        own = (1,) * (len(sizes) - self.ndim) + self.shape
        if len(own) != len(sizes):
            raise ShapeError(f"expand: {len(sizes)} sizes are too few, the tensor is {self.shape}")
        return self.broadcast_to(tuple(n if size == -1 else size for size, n in zip(sizes, own, strict=True)))

    def expand_as(self, other):
        """Repeated to the shape of another tensor."""
        return self.expand(other.shape)

    def repeat(self, *sizes):
        """Repeat the whole tensor along each axis; more counts than axes make new leading axes."""
        sizes = _sizes(sizes)
        if len(sizes) < self.ndim:
            raise ShapeError(f"repeat: {len(sizes)} counts are too few, the tensor is {self.shape}")
        own = (1,) * (len(sizes) - self.ndim) + self.shape
        once = self.reshape(tuple(n for size in own for n in (1, size)))
        wide = once.broadcast_to(tuple(n for pair in zip(sizes, own, strict=True) for n in pair))
        return wide.reshape(tuple(count * size for count, size in zip(sizes, own, strict=True)))

    def tile(self, *sizes):
        """As `repeat`; missing counts in front are 1."""
        sizes = _sizes(sizes)
        return self.repeat((1,) * (self.ndim - len(sizes)) + tuple(sizes))

    def repeat_interleave(self, repeats, dim=None):
        """Repeat each element along an axis; without one along the flattened tensor."""
        x, i = (self.flatten(), 0) if dim is None else (self, self._dim(dim, "repeat_interleave"))
        return x.index_select(i, np.repeat(np.arange(x.shape[i]), repeats))

    # -- parts

    def split(self, split_size, dim=0):
        """Parts along an axis: each of one size, the last one smaller, or of a list of sizes."""
        n = self.shape[self._dim(dim, "split")]
        sizes = [*split_size] if isinstance(split_size, (list, tuple)) else [
            min(split_size, n - start) for start in range(0, max(n, 1), split_size)]
        if sum(sizes) != n:
            raise ShapeError(f"split: the sizes {sizes} add up to {sum(sizes)}, but axis {dim} has {n}")
        return tuple(self.narrow(dim, sum(sizes[:i]), size) for i, size in enumerate(sizes))

    def chunk(self, chunks, dim=0):
        """At most so many parts of equal size along an axis; the last one may be smaller."""
        n = self.shape[self._dim(dim, "chunk")]
        return self.split(max(1, -(-n // chunks)), dim)

    def unbind(self, dim=0):
        """The slices along an axis, as a tuple."""
        return tuple(self.select(dim, i) for i in range(self.shape[self._dim(dim, "unbind")]))

    def narrow(self, dim, start, length):
        """A stretch of an axis."""
        return self._at(dim, slice(start, start + length), "narrow")

    def select(self, dim, index):
        """One slice of an axis, without it."""
        return self._at(dim, index, "select")

    def diagonal(self, offset=0, dim1=0, dim2=1):
        """The diagonal of two axes, as the last axis."""
        i, j = self._dim(dim1, "diagonal"), self._dim(dim2, "diagonal")
        n = max(0, min(self.shape[i] + min(offset, 0), self.shape[j] - max(offset, 0)))
        at = np.arange(n)
        x = self.permute((i, j, *(d for d in range(self.ndim) if d not in (i, j))))
        taken = x[at - min(offset, 0), at + max(offset, 0)]
        return taken.permute((*range(1, taken.ndim), 0))

    def diag(self, diagonal=0):
        """The diagonal of a matrix, or a matrix with this diagonal."""
        if self.ndim == 2:
            return self.diagonal(diagonal)
        n, at = self.shape[0] + abs(diagonal), np.arange(self.shape[0])
        return OPS["scatter"](self, index=(at - min(diagonal, 0), at + max(diagonal, 0)), shape=(n, n))

    # -- another order

    def flip(self, *dims):
        """Reverse the order along some axes."""
        chosen = {self._dim(d, "flip") for d in _sizes(dims)}
        return self[tuple(slice(None, None, -1) if i in chosen else slice(None) for i in range(self.ndim))]

    def roll(self, shifts, dims=None):
        """Move the values along axes; what leaves at the end comes in at the front."""
        if dims is None:
            return self.flatten().roll(shifts, 0).reshape(self.shape)
        x = self
        for shift, dim in zip(_tuple(shifts), _tuple(dims), strict=True):
            n = x.shape[x._dim(dim, "roll")]
            x = x.index_select(dim, (np.arange(n) - shift) % max(1, n))
        return x

    # -- selected by position or by a mask

    def index_select(self, dim, index):
        """Slices of an axis by their numbers."""
        return self._at(dim, self._indices(index), "index_select")

    def take(self, index):
        """Values by their numbers in the flattened tensor."""
        return self.flatten()[self._indices(index)]

    def gather(self, dim, index):
        """Along an axis, the value at each index: y[i, j] = x[i, index[i, j]] for dim=1."""
        return self[self._along(dim, self._indices(index), "gather")]

    def scatter(self, dim, index, src):
        """A copy with values written along an axis: y[i, index[i, j]] = src[i, j] for dim=1; the last one stays."""
        index = self._indices(index)
        at, xp = self._along(dim, index, "scatter"), backend_of(self._data).xp
        source = xp.full(self.shape, -1)  # which value of src comes to a place; -1: none
        source[at] = xp.arange(index.size).reshape(index.shape)
        values = self._filler(src)
        if values.ndim:  # PyTorch takes as much of src as the index has
            values = values[tuple(slice(n) for n in index.shape)].flatten()[source]
        return OPS["where"](source >= 0, values, self)

    def scatter_add(self, dim, index, src):
        """A copy with values added along an axis; an element met twice gets both."""
        index = self._indices(index)
        at, src = self._along(dim, index, "scatter_add"), self._filler(src)
        values = src[tuple(slice(n) for n in index.shape)] if src.ndim else src.broadcast_to(index.shape)
        return self + OPS["scatter"](values, index=at, shape=self.shape)

    def where(self, condition, other):
        """These values where the condition holds, others elsewhere."""
        return OPS["where"](condition, self, self._filler(other))

    def masked_fill(self, mask, value):
        """A copy with one value where the mask is True."""
        return OPS["where"](mask, self._filler(value), self)

    def masked_fill_(self, mask, value):
        """Write one value where the mask is True.

        A result on the tape is not written to: this tensor becomes a new one, with the fill recorded, and views taken
        of it before keep the old values.
        """
        if self._node is None or not current_mode().recording:
            self.copy_(self.masked_fill(mask, value).detach())
        elif self._node.op is None:
            raise TapeError("masked_fill_: a leaf that requires gradients is not written to; use masked_fill, or "
                            "`with no_grad():`")
        else:
            filled = self.masked_fill(mask, value)
            if filled.shape != self.shape:
                raise ShapeError(f"masked_fill_: the mask is {mask.shape} but the tensor is {self.shape}")
            self._data, self._version, self._node = filled._data, filled._version, filled._node
        return self

    def masked_select(self, mask):
        """The values where the mask is True, in one axis."""
        mask = raw(mask)
        shape = np.broadcast_shapes(self.shape, mask.shape)
        return self.broadcast_to(shape)[backend_of(self._data).xp.broadcast_to(mask, shape)]

    def tril(self, diagonal=0):
        """The lower triangle of the last two axes, 0 above it."""
        return self._triangle(diagonal, lower=True)

    def triu(self, diagonal=0):
        """The upper triangle of the last two axes, 0 below it."""
        return self._triangle(diagonal - 1, lower=False)

    def _triangle(self, diagonal, lower):
        if self.ndim < 2:
            raise ShapeError(f"tril, triu: need two axes or more, the tensor is {self.shape}")
        below = backend_of(self._data).xp.tri(*self.shape[-2:], diagonal, dtype=bool)
        return OPS["where"](below if lower else ~below, self, self._filler(0))

    def _made(self, data, **settings) -> Any:
        """A Tensor; this file is below the class."""
        make: Any = type(self)
        return make(data, **settings)

    def _filler(self, value):
        """A number as a tensor of this dtype."""
        if hasattr(value, "shape"):
            return value if isinstance(value, Shaping) else self._made(value)
        return self._made(backend_of(self._data).xp.asarray(value, dtype=self._data.dtype))

    def _at(self, dim, index, name):
        return self[(slice(None),) * self._dim(dim, name) + (index,)]

    def _indices(self, index):
        """Whole numbers as an array on the backend of this tensor."""
        array = self._made(index, backend=backend_of(self._data).name)._data
        if array.dtype.kind not in "iu":
            raise DTypeError(f"index: {array.dtype} values are no positions; give integers")
        return array

    def _along(self, dim, index, name):
        """The index of each element that `gather` and `scatter` mean."""
        i, xp = self._dim(dim, name), backend_of(self._data).xp
        if index.ndim != self.ndim:
            raise ShapeError(f"{name}: the index is {index.shape} but the tensor is {self.shape}; "
                             "both need as many axes")
        if index.size and not -1 < int(index.min()) <= int(index.max()) < self.shape[i]:
            raise ShapeError(f"{name}: the index holds {index.min()} … {index.max()}, outside 0 … {self.shape[i] - 1}")
        grid = [xp.arange(n).reshape([-1 if d == k else 1 for d in range(index.ndim)])
                for k, n in enumerate(index.shape)]
        return (*grid[:i], index, *grid[i + 1:])

    def _dim(self, dim, name, extra=0):
        """An axis counted from 0; ``extra``: axes that the result has more."""
        n = self.ndim + extra
        if not -n <= dim < n:
            raise ShapeError(f"{name}: axis {dim} is out of bounds, the tensor is {self.shape}")
        return operator.index(dim) % n


def _sizes(given):
    """Sizes or axes given one by one, or as one tuple or list."""
    return tuple(given[0]) if len(given) == 1 and isinstance(given[0], (tuple, list)) else given


def _tuple(given):
    return tuple(given) if isinstance(given, (tuple, list)) else (given,)
