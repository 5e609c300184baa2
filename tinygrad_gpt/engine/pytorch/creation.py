"""Functions that make tensors, under PyTorch's names and with its dtypes: floats are float32, integers int64.

Each takes ``dtype``, ``device`` ("cpu", "cuda"; None for the default backend) and ``requires_grad``.
"""

import math

import numpy as np

from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.backend.numpy import host_array
from tinygrad_gpt.engine.pytorch.device import Device, backend_on
from tinygrad_gpt.engine.pytorch.dtypes import as_dtype
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import DTypeError, ShapeError

__all__ = ["arange", "as_tensor", "empty", "empty_like", "eye", "from_numpy", "full", "full_like", "is_tensor",
           "linspace", "ones", "ones_like", "tensor", "zeros", "zeros_like"]


def tensor(data, *, dtype=None, device=None, requires_grad: bool = False) -> Tensor:
    """A tensor with a copy of the data; without ``dtype`` an array keeps its own.

    Args:
        data: numbers, nested lists (also of tensors with one value), an array, or a Tensor.
    """
    made = as_tensor(data, dtype=dtype, device=device)
    return Tensor(backend_of(made._data).xp.array(made._data), requires_grad=requires_grad)


def as_tensor(data, dtype=None, device=None) -> Tensor:
    """A tensor that shares the memory of the data, where dtype and device allow it."""
    if isinstance(data, Tensor) and dtype is None and device is None:
        return data
    result = data if isinstance(data, Tensor) else Tensor(data)
    if device is not None and backend_of(result._data) is not backend_on(device):
        result = Tensor(result, backend=backend_on(device).name)
    if dtype is not None and result.dtype != as_dtype(dtype, "as_tensor"):
        result = result.astype(as_dtype(dtype, "as_tensor"))
    return result


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor on the array's own memory (on the NumPy backend).

    Raises:
        DTypeError: "from_numpy: expected a NumPy array, not list".
    """
    if not isinstance(array, np.ndarray):
        raise DTypeError(f"from_numpy: expected a NumPy array, not {type(array).__name__}")
    return Tensor(array)


def zeros(*size, dtype="float32", device=None, requires_grad: bool = False) -> Tensor:
    """Zeros; the size is given as integers or as one tuple."""
    return full(as_size(size, "zeros"), 0, dtype=dtype or "float32", device=device, requires_grad=requires_grad)


def ones(*size, dtype="float32", device=None, requires_grad: bool = False) -> Tensor:
    """Ones; the size is given as integers or as one tuple."""
    return full(as_size(size, "ones"), 1, dtype=dtype or "float32", device=device, requires_grad=requires_grad)


def empty(*size, dtype="float32", device=None, requires_grad: bool = False) -> Tensor:
    """Zeros, where PyTorch leaves the memory as it is."""
    return full(as_size(size, "empty"), 0, dtype=dtype or "float32", device=device, requires_grad=requires_grad)


def full(size, fill_value, *, dtype=None, device=None, requires_grad: bool = False) -> Tensor:
    """One value everywhere; its type gives the dtype."""
    value = host_array(fill_value.item() if isinstance(fill_value, Tensor) else fill_value)
    kind = value.dtype if dtype is None else as_dtype(dtype, "full")
    return placed(np.full(as_size((size,), "full"), value, dtype=kind), device, requires_grad)


def eye(n: int, m: int | None = None, *, dtype="float32", device=None, requires_grad: bool = False) -> Tensor:
    """The identity matrix (n, n), or (n, m) with ones on its diagonal."""
    return placed(np.eye(n, m, dtype=as_dtype(dtype or "float32", "eye")), device, requires_grad)


def arange(start, end=None, step=1, *, dtype=None, device=None, requires_grad: bool = False) -> Tensor:
    """The numbers start, start + step, … below ``end``; ``arange(end)`` begins at 0.

    Raises:
        ShapeError: "arange: the step is 0", or leads away from the end.
    """
    start, end = (0, start) if end is None else (start, end)
    start, end, step = (v.item() if hasattr(v, "item") else v for v in (start, end, step))
    if step == 0 or (end - start) * step < 0:
        raise ShapeError(f"arange: no number of steps of {step} leads from {start} to {end}")
    floats = any(isinstance(v, float) for v in (start, end, step))
    count = math.ceil((end - start) / step)
    values = start + step * np.arange(count, dtype=np.float64 if floats else np.int64)
    kind = as_dtype(dtype or ("float32" if floats else "int64"), "arange")
    return placed(values.astype(kind), device, requires_grad)


def linspace(start, end, steps: int, *, dtype="float32", device=None, requires_grad: bool = False) -> Tensor:
    """``steps`` numbers at equal distances from ``start`` to ``end``, both included."""
    values = np.linspace(float(start), float(end), int(steps))
    return placed(values.astype(as_dtype(dtype or "float32", "linspace")), device, requires_grad)


def zeros_like(like: Tensor, *, dtype=None, device=None, requires_grad: bool = False) -> Tensor:
    """Zeros of the shape, dtype and device of ``like``."""
    return full_like(like, 0, dtype=dtype, device=device, requires_grad=requires_grad)


def ones_like(like: Tensor, *, dtype=None, device=None, requires_grad: bool = False) -> Tensor:
    """Ones of the shape, dtype and device of ``like``."""
    return full_like(like, 1, dtype=dtype, device=device, requires_grad=requires_grad)


def empty_like(like: Tensor, *, dtype=None, device=None, requires_grad: bool = False) -> Tensor:
    """The same as `zeros_like`."""
    return full_like(like, 0, dtype=dtype, device=device, requires_grad=requires_grad)


def full_like(like: Tensor, fill_value, *, dtype=None, device=None, requires_grad: bool = False) -> Tensor:
    """One value everywhere, with the shape, dtype and device of ``like``."""
    return full(like.shape, fill_value, dtype=dtype or like.dtype, device=device or device_of(like),
                requires_grad=requires_grad)


def is_tensor(value) -> bool:
    """Whether the value is a Tensor."""
    return isinstance(value, Tensor)


def device_of(tensor: Tensor) -> Device:
    """Where a tensor is."""
    return Device.of(backend_of(tensor._data))


def placed(array: np.ndarray, device, requires_grad: bool) -> Tensor:
    """A host array as a tensor on a device."""
    return Tensor(backend_on(device).from_numpy(array), requires_grad=requires_grad)


def as_size(size: tuple, where: str) -> tuple[int, ...]:
    """The shape that was given as integers, or as one tuple or list of them.

    Raises:
        ShapeError: "zeros: the size (2, -1) is not one of lengths".
    """
    lengths = tuple(size[0]) if len(size) == 1 and isinstance(size[0], (tuple, list)) else size
    try:
        shape = tuple(length.__index__() for length in lengths)
    except (AttributeError, TypeError) as error:
        raise ShapeError(f"{where}: the size {lengths} is not one of integers") from error
    if any(length < 0 for length in shape):
        raise ShapeError(f"{where}: the size {shape} has a negative length")
    return shape
