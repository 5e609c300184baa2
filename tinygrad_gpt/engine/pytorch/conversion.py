"""Ways out of a Tensor: Python numbers, NumPy arrays, other dtypes and devices.

NumPy's functions take Tensors. One that is an op here (`np.exp`, `np.add`) is that op, on the tape; another computes
on the array off the tape, and is refused where a gradient would be lost.
"""

import operator
from typing import Any

import numpy as np

from tinygrad_gpt.backend import Backend, backend_of, get_backend, is_integer
from tinygrad_gpt.engine.mode import current_mode
from tinygrad_gpt.engine.operators import OPS, Operators, raw
from tinygrad_gpt.engine.pytorch.device import Device, backend_on
from tinygrad_gpt.engine.pytorch.dtypes import DTYPES, as_dtype
from tinygrad_gpt.errors import BackendError, ShapeError, TapeError

__all__ = ["Conversion"]

# NumPy's functions that are ops.
UFUNCS = {"add": "add", "subtract": "sub", "multiply": "mul", "divide": "div", "power": "pow", "matmul": "matmul",
          "negative": "neg", "absolute": "abs", "exp": "exp", "log": "log", "sqrt": "sqrt", "tanh": "tanh",
          "maximum": "maximum"}


class Size(int):
    """How many elements: a number, as in NumPy; called, the shape or the length of one axis, as in PyTorch."""

    shape: tuple[int, ...]

    def __new__(cls, shape):
        size = super().__new__(cls, np.prod(shape, dtype=np.int64))
        size.shape = shape
        return size

    def __call__(self, dim=None):
        if dim is None:
            return self.shape
        if not -len(self.shape) <= dim < len(self.shape):
            raise ShapeError(f"size: axis {dim} is out of bounds, the tensor is {self.shape}")
        return self.shape[dim]


def _to_dtype(name):
    def convert(self):
        return self.to(DTYPES[name])

    convert.__doc__ = f"The same values as {DTYPES[name]}; the tensor itself if they are so already."
    return convert


class Conversion:
    """What a Tensor inherits: its values as something else."""

    __slots__ = ()
    _data: Any
    _node: Any
    dtype: Any
    shape: Any
    ndim: Any
    detach: Any
    _constant: Any

    # -- Python's numbers

    def item(self):
        """The one value as a Python number."""
        return self._one("item")

    def _one(self, where):
        if self._data.size != 1:
            raise ShapeError(f"{where}: the tensor has shape {self.shape}, not one value")
        return self.numpy().reshape(()).item()

    def tolist(self):
        """The values as nested lists of Python numbers."""
        return self.numpy().tolist()

    def __bool__(self):
        if self._data.size != 1:
            raise ShapeError(f"bool: the tensor has shape {self.shape}, not one value; use any() or all()")
        return bool(self.item())

    def __float__(self):
        return float(self._one("float"))

    def __int__(self):
        return int(self._one("int"))

    def __complex__(self):
        return complex(self._one("complex"))

    def __index__(self):
        if not is_integer(self.dtype) or self._data.size != 1:
            raise TypeError(f"only one integer can be an index, not a tensor {self.shape} of {self.dtype}")
        return operator.index(int(self.item()))

    def __round__(self, ndigits=None):
        return round(self._one("round"), ndigits)

    def __format__(self, spec):
        return format(self.item(), spec) if not self.ndim else object.__format__(self, spec)

    def __contains__(self, value):
        return bool((self == value)._data.any())

    def __reversed__(self):
        return OPS["slice"](self, index=slice(None, None, -1)) if self.ndim else self

    # -- NumPy

    def numpy(self) -> np.ndarray:
        """The values on the host; on the NumPy backend the very memory."""
        return backend_of(self._data).to_numpy(self._data)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **settings):
        if out is not None:  # as in `array -= tensor`
            return getattr(ufunc, method)(*map(_host, inputs), out=tuple(map(_host, out)), **settings)
        if method == "__call__" and not settings:
            if ufunc.__name__ in UFUNCS:
                return OPS[UFUNCS[ufunc.__name__]](*inputs)
            if ufunc.__name__ in ("remainder", "floor_divide") and not isinstance(inputs[0], Operators):
                return (inputs[1].__rmod__ if ufunc.__name__ == "remainder" else inputs[1].__rfloordiv__)(inputs[0])
        if ufunc.nout != 1 or ufunc.__name__ not in _WITHOUT_GRADIENT:
            _refuse_on_tape(ufunc.__name__, inputs)
        result = getattr(ufunc, method)(*map(_host, inputs), **settings)
        if ufunc.nout != 1:
            return result
        return self._constant(backend_of(self._data).from_numpy(np.asarray(result)))

    def __array_function__(self, function, types, args, settings):
        _refuse_on_tape(function.__name__, [*args, *settings.values()])
        return function(*map(_host, args), **{name: _host(value) for name, value in settings.items()})

    # -- dtypes and devices

    def astype(self, dtype):
        """A copy in another dtype, on the tape if this one is and ``dtype`` is a float."""
        dtype = as_dtype(dtype, "astype")
        if self._node is None or is_integer(dtype):
            return self._constant(self._data.astype(dtype))
        return OPS["astype"](self, dtype=dtype)

    def to(self, *args, dtype=None, device=None, **ignored):
        """The same values in another dtype or on another device; the tensor itself where nothing changes.

        Args:
            args: a dtype, a device, a tensor that has both, or a device and a dtype.
            ignored: ``non_blocking`` and ``copy``, which PyTorch takes.

        Raises:
            BackendError: the device is absent; "to: a tensor on the tape cannot be moved; …".
        """
        for given in args:
            if isinstance(given, Conversion):
                dtype, device = given.dtype, given.device
            elif isinstance(given, Device) or (isinstance(given, str) and given not in (*DTYPES, "bfloat16")):
                device = given
            elif not isinstance(given, bool):
                dtype = DTYPES.get(given, given) if isinstance(given, str) else given
        result = self if device is None else self._on(backend_on(device))
        return result if dtype is None or as_dtype(dtype, "to") == result.dtype else result.astype(dtype)

    def _on(self, backend: Backend):
        if backend_of(self._data) is backend:
            return self
        if self._node is not None and current_mode().recording:
            raise BackendError("to: a tensor on the tape cannot be moved; move it first, or detach it")
        return self._constant(backend.from_numpy(self.numpy()))

    def type(self, dtype):
        """The same values in another dtype."""
        return self.to(dtype=dtype)

    def type_as(self, other):
        """The same values in the dtype of another tensor."""
        return self.to(dtype=other.dtype)

    def cpu(self):
        """The same values on the host."""
        return self._on(get_backend("numpy"))

    def cuda(self, device=None):
        """The same values on a GPU."""
        return self._on(backend_on(device or "cuda"))

    @property
    def device(self) -> Device:
        """Where the memory is."""
        return Device.of(backend_of(self._data))

    def clone(self):
        """A copy, on the tape if this one is."""
        if self._node is None:
            return self._constant(backend_of(self._data).xp.array(self._data))
        return OPS["astype"](self, dtype=self.dtype)

    def contiguous(self):
        """The same values in memory in the order of the axes; the tensor itself if they are so already."""
        return self if self.is_contiguous() else self.clone()

    def is_contiguous(self):
        """Whether the values are in memory in the order of the axes."""
        return self._data.flags.c_contiguous

    def is_floating_point(self):
        """Whether the dtype is one of floats."""
        return not is_integer(self.dtype)

    # -- sizes

    @property
    def size(self) -> Size:
        """How many elements, as in NumPy; ``size()`` is the shape and ``size(dim)`` a length, as in PyTorch."""
        return Size(self.shape)

    def numel(self):
        """How many elements."""
        return self._data.size

    def dim(self):
        """How many axes."""
        return self._data.ndim

    nelement, ndimension = numel, dim

    def element_size(self):
        """Bytes of an element."""
        return self.dtype.itemsize

    itemsize = property(element_size)

    @property
    def nbytes(self):
        """Bytes of all elements."""
        return self._data.nbytes

    def stride(self):
        """Elements from one position to the next along each axis."""
        return tuple(step // self.dtype.itemsize for step in self._data.strides)

    # -- new tensors of the same dtype and device

    def new_full(self, size, fill_value, *, dtype=None):
        """One value everywhere."""
        return self._constant(backend_of(self._data).xp.full(size, raw(fill_value), dtype=dtype or self.dtype))

    def new_zeros(self, *size, dtype=None):
        """Zeros."""
        return self.new_full(size[0] if len(size) == 1 else size, 0, dtype=dtype)

    def new_ones(self, *size, dtype=None):
        """Ones."""
        return self.new_full(size[0] if len(size) == 1 else size, 1, dtype=dtype)

    def new_tensor(self, data):
        """A copy of the data."""
        return self.new_full(np.shape(data), 0).copy_(data)

    def bfloat16(self):
        """The same values as bfloat16; the tensor itself if they are so already."""
        return self.to(as_dtype("bfloat16", "bfloat16"))

    # Last, because they hide Python's names in the rest of the class.
    half, double, short, long = (_to_dtype(name) for name in ("half", "double", "short", "long"))
    bool, int, float = (_to_dtype(name) for name in ("bool", "int", "float"))


# NumPy's functions with results that have no gradient: comparisons, tests and steps.
_WITHOUT_GRADIENT = {
    "ceil", "equal", "floor", "floor_divide", "greater", "greater_equal", "isfinite", "isinf", "isnan", "less",
    "less_equal", "logical_and", "logical_not", "logical_or", "logical_xor", "not_equal", "rint", "sign", "signbit",
    "trunc",
}


def _host(value):
    """A Tensor as a NumPy array, also inside lists, tuples and dicts."""
    if isinstance(value, Conversion):
        return value.numpy()
    if isinstance(value, (list, tuple)) and any(isinstance(v, (Conversion, list, tuple)) for v in value):
        return type(value)(_host(v) for v in value)
    return value


def _refuse_on_tape(name, values):
    """Raise where a Tensor on the tape would go into a function that records nothing."""
    if not current_mode().recording:
        return
    for value in values:
        if isinstance(value, (list, tuple)):
            _refuse_on_tape(name, value)
        elif isinstance(value, Conversion) and value._node is not None:
            raise TapeError(f"numpy.{name}: the tape does not record NumPy's functions; use an op of tinygrad_gpt, "
                            "or give x.detach() where no gradient is wanted")
