"""Operators and methods of a Tensor that are ops, looked up by name in the registry."""

from typing import Any

from tinygrad_gpt.errors import ShapeError

__all__ = ["OPS", "Operators", "raw"]

OPS: dict[str, Any] = {}  # the registry, filled by `registry.op`
METHODS = frozenset({"abs", "exp", "log", "sqrt", "tanh", "sigmoid", "relu", "gelu", "sum", "mean", "max", "logsumexp",
                      "softmax", "log_softmax", "broadcast_to"})  # x.exp(), x.sum(axis=0)


def raw(value):
    """The array of a Tensor, also inside a tuple; anything else as it is."""
    if isinstance(value, tuple):
        return tuple(raw(v) for v in value)
    return value._data if isinstance(value, Operators) else value


def _binary(name):
    return lambda self, other: OPS[name](self, other)


def _reflected(name):
    return lambda self, other: OPS[name](other, self)


def _comparison(name):
    def compare(self, other):
        try:
            return type(self)(getattr(self._data, name)(raw(other)))
        except (ValueError, TypeError) as error:
            raise ShapeError(f"comparison: {error} (this tensor is {self.shape} {self.dtype})") from error

    return compare


class Operators:
    """What a Tensor inherits: arithmetic, comparisons, indexing, and ops as methods."""

    __slots__ = ()
    _data: Any

    __add__, __radd__ = _binary("add"), _reflected("add")
    __sub__, __rsub__ = _binary("sub"), _reflected("sub")
    __mul__, __rmul__ = _binary("mul"), _reflected("mul")
    __truediv__, __rtruediv__ = _binary("div"), _reflected("div")
    __pow__, __rpow__ = _binary("pow"), _reflected("pow")
    __matmul__, __rmatmul__ = _binary("matmul"), _reflected("matmul")
    __lt__, __le__ = _comparison("__lt__"), _comparison("__le__")
    __gt__, __ge__ = _comparison("__gt__"), _comparison("__ge__")

    def __neg__(self):
        return OPS["neg"](self)

    def __abs__(self):
        return OPS["abs"](self)

    def __getitem__(self, index):
        return OPS["slice"](self, index=raw(index))

    def __getattr__(self, name):
        if name in METHODS:
            return lambda *args, **settings: OPS[name](self, *args, **settings)
        raise AttributeError(f"Tensor has no attribute {name!r}")
