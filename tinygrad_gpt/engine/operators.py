"""Operators of a Tensor, which are ops, looked up by name in the registry."""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_gpt.errors import DTypeError, ShapeError

__all__ = ["OPS", "Operators", "raw"]

OPS: dict[str, Any] = {}  # the registry, filled by `registry.op`


def raw(value):
    """The array of a Tensor, also inside a tuple; anything else as it is."""
    if isinstance(value, tuple):
        return tuple(raw(v) for v in value)
    return value._data if isinstance(value, Operators) else value


def _binary(name):
    return lambda self, other: OPS[name](self, other)


def _reflected(name):
    return lambda self, other: OPS[name](other, self)


def _off_tape(function, word):
    """An operator without a gradient, whose result is never on the tape: a comparison, or one on bits."""
    def apply(self, other):
        if other is None or isinstance(other, str):
            return NotImplemented
        other = other.item() if isinstance(other, np.generic) else raw(other)  # a NumPy float64 would not be rounded
        if isinstance(other, (list, tuple)):
            other = np.asarray(other)
        try:
            with np.errstate(all="raise" if word == "//" and self._data.dtype.kind in "iu" else "ignore"):
                return self._constant(function(self._data, other))
        except FloatingPointError as error:
            raise ZeroDivisionError(f"{word}: an integer is divided by 0") from error
        except (ValueError, TypeError) as error:
            kind = DTypeError if "not supported for the input types" in str(error) else ShapeError
            raise kind(f"{word}: {error} (this tensor is {self.shape} {self.dtype})") from error

    return apply


def _swapped(function):
    return lambda a, b: function(b, a)


class Operators:
    """What a Tensor inherits: arithmetic, comparisons and indexing.

    ``==`` and ``!=`` compare element by element, and the hash is the identity, both as in PyTorch: tensors can be
    keys of a dict, and ``t in tensors`` finds the very tensor first.
    """

    __slots__ = ()
    _data: Any
    detach: Callable
    dtype: Any
    shape: Any
    _constant: Callable

    __add__, __radd__ = _binary("add"), _reflected("add")
    __sub__, __rsub__ = _binary("sub"), _reflected("sub")
    __mul__, __rmul__ = _binary("mul"), _reflected("mul")
    __truediv__, __rtruediv__ = _binary("div"), _reflected("div")
    __pow__, __rpow__ = _binary("pow"), _reflected("pow")
    __matmul__, __rmatmul__ = _binary("matmul"), _reflected("matmul")
    __lt__, __le__ = _off_tape(operator.lt, "comparison"), _off_tape(operator.le, "comparison")
    __gt__, __ge__ = _off_tape(operator.gt, "comparison"), _off_tape(operator.ge, "comparison")
    __eq__, __ne__ = _off_tape(operator.eq, "comparison"), _off_tape(operator.ne, "comparison")
    __hash__ = object.__hash__
    __floordiv__ = _off_tape(operator.floordiv, "//")
    __rfloordiv__ = _off_tape(_swapped(operator.floordiv), "//")
    __and__, __rand__ = _off_tape(operator.and_, "&"), _off_tape(_swapped(operator.and_), "&")
    __or__, __ror__ = _off_tape(operator.or_, "|"), _off_tape(_swapped(operator.or_), "|")
    __xor__, __rxor__ = _off_tape(operator.xor, "^"), _off_tape(_swapped(operator.xor), "^")
    __lshift__, __rshift__ = _off_tape(operator.lshift, "<<"), _off_tape(operator.rshift, ">>")

    def __invert__(self):
        try:
            return self._constant(~self._data)
        except TypeError as error:
            raise DTypeError(f"~: {error} (this tensor is {self.shape} {self.dtype})") from error

    def __mod__(self, other):
        return self - (self.detach() // other) * other  # floor(a / b) is constant between its steps

    def __rmod__(self, other):
        return other - (other // self.detach()) * self

    def __neg__(self):
        return OPS["neg"](self)

    def __abs__(self):
        return OPS["abs"](self)

    def __getitem__(self, index):
        return OPS["slice"](self, index=raw(index))
