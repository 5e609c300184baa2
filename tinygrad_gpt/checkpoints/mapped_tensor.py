"""A tensor that lies in a file: where, and how it becomes an array with as few copies as possible."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinygrad_gpt.errors import CheckpointError

__all__ = ["Checksum", "ComputedTensor", "FileTensor", "StoredTensor", "bfloat16_to_float32"]

# safetensors' name of a dtype: how NumPy reads its bits.
FLOATS: dict[str, np.dtype] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}


@dataclass(frozen=True)
class Checksum:
    """What a file says of some of its bytes.

    Args:
        begin, length: which bytes.
        value: their checksum.
        function: that computes it.
    """

    begin: int
    length: int
    value: int
    function: Callable[[np.ndarray], int]

    def check(self, path: Path) -> None:
        """Raise a CheckpointError if the bytes have another checksum."""
        data = np.memmap(path, np.uint8, "r", self.begin, (self.length,)) if self.length else np.empty(0, np.uint8)
        if self.function(data) != self.value:
            raise CheckpointError(f"its tensor at byte {self.begin} is damaged (wrong checksum); use another copy")


@dataclass(frozen=True)
class StoredTensor:
    """The place of a tensor in a file, in little-endian bytes.

    Args:
        path: the file.
        offset: of the first byte.
        dtype: safetensors' name: F32, F16, BF16, or one that is no weight's.
        shape: of the array.
        strides: how many elements lie between neighbours along each axis; None: it is in C order.
        checksum: of the tensor, or of what it is a part of; it is checked when the tensor is loaded.
    """

    path: Path
    offset: int
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None = None
    checksum: Checksum | None = None

    @property
    def is_float(self) -> bool:
        """Whether its dtype is one that weights have."""
        return self.dtype in FLOATS

    def load(self) -> np.ndarray:
        """The values in float32: the file itself, mapped copy-on-write, where it holds float32 on an aligned offset.

        Elsewhere (half precision, or the unaligned files that safetensors wrote before 2023) they are read: NumPy
        would copy an unaligned array before every matrix product.
        """
        if self.checksum is not None:
            self.checksum.check(self.path)
        dtype, count = FLOATS[self.dtype], math.prod(self.shape)
        if self.strides is not None and count:
            return self._strided(dtype)
        if self.dtype == "F32" and self.offset % dtype.alignment == 0 and count:
            return np.memmap(self.path, dtype, "c", self.offset, self.shape).view(np.ndarray)
        return self._read(dtype, count).reshape(self.shape)

    def _read(self, dtype: np.dtype, count: int) -> np.ndarray:
        """Elements from the offset on, converted to float32 while they are read, so that nothing is held twice."""
        if self.offset + count * dtype.itemsize > self.path.stat().st_size:
            raise CheckpointError("it ends too early; use another copy")
        if not count:
            return np.empty(0, np.float32)
        values = np.memmap(self.path, dtype, "r", self.offset, (count,)).view(np.ndarray)
        return bfloat16_to_float32(values) if self.dtype == "BF16" else values.astype(np.float32)

    def _strided(self, dtype: np.dtype) -> np.ndarray:
        """The elements at their strides, copied into C order."""
        assert self.strides is not None
        last = sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        values = self._read(dtype, last + 1)
        octets = tuple(stride * values.itemsize for stride in self.strides)
        return np.lib.stride_tricks.as_strided(values, self.shape, octets).copy()


@dataclass(frozen=True)
class ComputedTensor:
    """A tensor that is made of others in a file.

    Args:
        dtype, shape: as of a StoredTensor.
        compute: returns the array in float32.
    """

    dtype: str
    shape: tuple[int, ...]
    compute: Callable[[], np.ndarray]

    @property
    def is_float(self) -> bool:
        """Whether its dtype is one that weights have."""
        return self.dtype in FLOATS

    def load(self) -> np.ndarray:
        """The values in float32."""
        return self.compute()


FileTensor = StoredTensor | ComputedTensor


def bfloat16_to_float32(bits: np.ndarray) -> np.ndarray:
    """The same values in float32: bfloat16 is its upper half."""
    return np.left_shift(bits, 16, dtype=np.uint32).view(np.float32)
