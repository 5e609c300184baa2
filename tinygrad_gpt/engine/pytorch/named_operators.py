"""The operators of a Tensor as methods, under PyTorch's names: ``x.add(y)`` is ``x + y``, ``x.eq(y)`` is ``x == y``."""

import operator
from typing import Any

__all__ = ["NamedOperators"]


def _named(function, sign):
    def method(self, other):
        return function(self, other)

    method.__doc__ = f"``self {sign} other``."
    return method


class NamedOperators:
    """What a Tensor inherits: its operators by name."""

    __slots__ = ()
    __add__: Any
    __sub__: Any

    mul, multiply = (_named(operator.mul, "*"),) * 2
    div, divide, true_divide = (_named(operator.truediv, "/"),) * 3
    remainder, floor_divide = _named(operator.mod, "%"), _named(operator.floordiv, "//")
    eq, ne = _named(operator.eq, "=="), _named(operator.ne, "!=")
    lt, le = _named(operator.lt, "<"), _named(operator.le, "<=")
    gt, ge = _named(operator.gt, ">"), _named(operator.ge, ">=")
    bitwise_and, bitwise_or = _named(operator.and_, "&"), _named(operator.or_, "|")
    bitwise_xor = _named(operator.xor, "^")

    def add(self, other, *, alpha=1):
        """``self + alpha * other``."""
        return self + (other if alpha == 1 else other * alpha)

    def sub(self, other, *, alpha=1):
        """``self - alpha * other``."""
        return self - (other if alpha == 1 else other * alpha)

    subtract = sub

    def logical_not(self):
        """True where an element is 0."""
        return self == 0

    def logical_and(self, other):
        """True where neither element is 0."""
        return (self != 0) & (other != 0)

    def logical_or(self, other):
        """True where not both elements are 0."""
        return (self != 0) | (other != 0)
