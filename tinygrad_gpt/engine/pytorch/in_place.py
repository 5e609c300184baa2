"""What changes a Tensor in place: augmented assignment, writes by index, and the methods whose names end in "_".

Off the tape, and under ``no_grad``, the memory is overwritten and the change is noted, so that a graph that saved the
old values refuses to run backward. On the tape a result of an op may be updated; a leaf may not, as in PyTorch.
"""

from typing import Any

from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.backend.numpy import host_array
from tinygrad_gpt.engine.guards import Lock, Version
from tinygrad_gpt.engine.mode import current_mode, no_grad
from tinygrad_gpt.engine.operators import OPS, Operators, raw
from tinygrad_gpt.errors import DTypeError, ShapeError, TapeError
from tinygrad_gpt.random import default_generator

__all__ = ["InPlace"]

_KINDS = "biufc"  # a result may go into a dtype of the same kind or a later one


def _augmented(name):
    def update(self, *other):
        return self._update(name, *other)

    return update


class InPlace:
    """What a Tensor inherits: changes in place. Each method returns the tensor."""

    __slots__ = ()
    _data: Any
    _node: Any
    _version: Any
    shape: Any
    dtype: Any
    detach: Any
    clamp: Any

    __iadd__, __isub__, __imul__ = _augmented("add"), _augmented("sub"), _augmented("mul")
    __itruediv__, __ipow__, __imatmul__ = _augmented("div"), _augmented("pow"), _augmented("matmul")
    mul_, div_, pow_ = _augmented("mul"), _augmented("div"), _augmented("pow")

    def add_(self, other, *, alpha=1):
        """Add ``alpha`` times the other."""
        return self._update("add", other if alpha == 1 else other * alpha)

    def sub_(self, other, *, alpha=1):
        """Subtract ``alpha`` times the other."""
        return self._update("sub", other if alpha == 1 else other * alpha)

    def _update(self, name, *other):
        """``self = OPS[name](self, *other)``, on the same memory."""
        on_tape = current_mode().recording and any(getattr(x, "_node", None) is not None for x in (self, *other))
        if not on_tape:
            with no_grad():
                self._overwrite(OPS[name](self, *other)._data, name)
            return self
        if self._node is not None and self._node.op is None:
            raise TapeError(f"in-place {name}: this is a leaf that requires gradients; change it in "
                            "`with no_grad():`, or compute a new tensor")
        if self._version.viewed or self._data.base is not None:
            raise TapeError(f"in-place {name}: the tensor on the tape shares its memory with a view of it, such as a "
                            "slice or a reshape; compute a new tensor, as in x = x + y")
        old = self.detach()
        old._data, old._version, old._node = backend_of(self._data).xp.array(self._data), Version(), self._node
        result = OPS[name](old, *other)
        self._overwrite(result._data, name)
        self._node = result._node
        return self

    def _overwrite(self, values, name):
        """Write the values of a result of the op ``name``; nothing is cut off, nothing is broadcast."""
        if values.shape != self.shape:
            raise ShapeError(f"in-place {name}: the result is {values.shape}, but the tensor is {self.shape}")
        if values.dtype.kind in _KINDS and _KINDS.find(values.dtype.kind) > _KINDS.find(self.dtype.kind) >= 0:
            raise DTypeError(f"in-place {name}: the result is {values.dtype}, but the tensor is {self.dtype}; "
                             "compute a new tensor, or convert this one with astype")
        self._write(Ellipsis, values)

    exp_, log_, sqrt_, neg_, tanh_, sigmoid_, relu_, abs_ = (
        _augmented(name) for name in ("exp", "log", "sqrt", "neg", "tanh", "sigmoid", "relu", "abs"))

    def clamp_(self, min=None, max=None):
        """Bring the values between two bounds; off the tape, or under ``no_grad``."""
        return self.copy_(self.clamp(min, max))

    def copy_(self, values):
        """Overwrite the values, which are broadcast."""
        self[...] = values
        return self

    def fill_(self, value):
        """Set every element to one value."""
        self[...] = value
        return self

    def zero_(self):
        """Set every element to 0."""
        return self.fill_(0)

    def normal_(self, mean=0.0, std=1.0, *, generator=None):
        """Overwrite with normal numbers, as PyTorch draws them."""
        return self.copy_((generator or default_generator).normal(*self.shape) * std + mean)

    def uniform_(self, low=0.0, high=1.0, *, generator=None):
        """Overwrite with uniform numbers in [low, high), as PyTorch draws them."""
        return self.copy_((generator or default_generator).uniform(*self.shape, low=low, high=high))

    def detach_(self):
        """Take this tensor itself off the tape."""
        self._node = None
        return self

    def __setitem__(self, index, values):
        if current_mode().recording:
            if self._node is not None:
                raise TapeError("in-place write: this tensor is on the tape, which does not record writes; "
                                "use `with no_grad():`, or compute a new tensor")
            if isinstance(values, Operators) and values._node is not None:  # type: ignore[attr-defined]
                raise TapeError("in-place write: the values are on the tape, which does not record writes; "
                                "use where, concat or stack, or write values.detach()")
        self._write(raw(index), values)

    def _write(self, index, values):
        values, backend = raw(values), backend_of(self._data)
        if not isinstance(values, backend.array_type):
            values = backend.from_numpy(host_array(values, self.dtype))
        try:
            self._data[index] = values
        except (ValueError, IndexError, TypeError) as error:
            if saver := Lock.holder(self._data):
                raise TapeError(f"in-place write: op '{saver.name}' saved this array for backward; "
                                "use a copy, or write after backward") from error
            raise ShapeError(f"in-place write: {error} (the tensor is {self.shape})") from error
        self._version.bump()
