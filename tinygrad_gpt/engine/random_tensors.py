"""Random tensors, with the numbers that PyTorch draws on a CPU after the same ``manual_seed``.

They are drawn on the host, by `tinygrad_gpt/random.py`, and then moved to the device.
"""

import numpy as np

from tinygrad_gpt.engine.creation import as_size, device_of, placed
from tinygrad_gpt.engine.dtypes import as_dtype
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import DTypeError, ShapeError
from tinygrad_gpt.random import TorchStream, default_generator

__all__ = ["Generator", "rand", "rand_like", "randint", "randn", "randn_like", "randperm"]


def Generator(device="cpu") -> TorchStream:
    """A stream of its own, for ``generator=``, with the seed of PyTorch's new generators."""
    return TorchStream(67280421310721)


def rand(*size, generator: TorchStream | None = None, dtype="float32", device=None, requires_grad=False) -> Tensor:
    """Uniform numbers in [0, 1); the size is given as integers or as one tuple."""
    stream, shape = generator or default_generator, as_size(size, "rand")
    if _drawn_dtype(dtype, "rand") == np.float32:
        return placed(stream.uniform(*shape), device, requires_grad)
    return placed(stream.doubles(int(np.prod(shape))).reshape(shape), device, requires_grad)


def randn(*size, generator: TorchStream | None = None, dtype="float32", device=None, requires_grad=False) -> Tensor:
    """Normal numbers of mean 0 and variance 1; the size is given as integers or as one tuple."""
    values = (generator or default_generator).normal(*as_size(size, "randn"), dtype=_drawn_dtype(dtype, "randn").type)
    return placed(values, device, requires_grad)


def randint(low: int, high=None, size=None, *, generator: TorchStream | None = None, dtype="int64",
            device=None) -> Tensor:
    """Integers from ``low`` up to but not including ``high``; ``randint(high, size)`` begins at 0.

    Raises:
        ShapeError: "randint: there is no integer from 5 up to 5".
    """
    if size is None:
        low, high, size = 0, low, high
    if not low < high:
        raise ShapeError(f"randint: there is no integer from {low} up to {high}")
    values = (generator or default_generator).integers(low, high, *as_size((size,), "randint"))
    return placed(values.astype(as_dtype(dtype or "int64", "randint")), device, False)


def randperm(n: int, *, generator: TorchStream | None = None, dtype="int64", device=None) -> Tensor:
    """The integers from 0 up to but not including ``n`` in random order."""
    values = (generator or default_generator).permutation(n)
    return placed(values.astype(as_dtype(dtype or "int64", "randperm")), device, False)


def rand_like(like: Tensor, *, dtype=None, requires_grad=False) -> Tensor:
    """Uniform numbers in [0, 1) of the shape, dtype and device of ``like``."""
    return rand(like.shape, dtype=dtype or like.dtype, device=device_of(like), requires_grad=requires_grad)


def randn_like(like: Tensor, *, dtype=None, requires_grad=False) -> Tensor:
    """Normal numbers of the shape, dtype and device of ``like``."""
    return randn(like.shape, dtype=dtype or like.dtype, device=device_of(like), requires_grad=requires_grad)


def _drawn_dtype(dtype, where):
    kind = as_dtype(dtype or "float32", where)
    if kind not in (np.float32, np.float64):
        raise DTypeError(f"{where}: numbers are drawn as float32 or float64, not {kind}; convert them with astype")
    return kind
