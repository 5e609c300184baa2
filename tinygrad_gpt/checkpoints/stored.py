"""A tensor that lies in a file: where, and how it becomes an array with as few copies as possible."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinygrad_gpt.errors import CheckpointError

__all__ = ["StoredTensor", "bfloat16_to_float32"]

# safetensors' name of a dtype: how NumPy reads its bits.
FLOATS: dict[str, np.dtype] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
EXPONENTS = {"F16": 0x7C00, "BF16": 0x7F80}  # bits that are all set in an infinity or a NaN
CHUNK = 2**18  # values that are looked at together


@dataclass(frozen=True)
class StoredTensor:
    """The place of a tensor in a file, in little-endian bytes and C order.

    Args:
        path: the file.
        offset: of the first byte.
        dtype: safetensors' name: F32, F16, BF16, or one that is no weight's.
        shape: of the array.
    """

    path: Path
    offset: int
    dtype: str
    shape: tuple[int, ...]

    @property
    def is_float(self) -> bool:
        """Is it of a dtype that weights have?"""
        return self.dtype in FLOATS

    def load(self) -> np.ndarray:
        """The values in float32: the file itself, mapped copy-on-write, where it holds float32 on an aligned offset.

        Elsewhere (half precision, or the unaligned files that safetensors wrote before 2023) they are read: NumPy
        would copy an unaligned array before every matrix product.
        """
        if self._mapped:
            return np.memmap(self.path, FLOATS[self.dtype], "c", self.offset, self.shape).view(np.ndarray)
        with self.path.open("rb") as file:
            file.seek(self.offset)
            values = self._read(file, math.prod(self.shape)).reshape(self.shape)
        return bfloat16_to_float32(values) if self.dtype == "BF16" else values.astype(np.float32, copy=False)

    def count_non_finite(self) -> int:
        """How many values are infinite or not a number; it takes 1 MiB, whatever the size of the tensor."""
        return sum(map(self._non_finite, self._chunks()))

    def _non_finite(self, values: np.ndarray) -> int:
        if self.dtype in EXPONENTS:
            exponent = np.uint16(EXPONENTS[self.dtype])
            return int(np.count_nonzero(values.view(np.uint16) & exponent == exponent))
        # One pass for all that is well: if a square overflows, the values are counted, and found to be finite.
        return 0 if math.isfinite(np.dot(values, values)) else int(np.count_nonzero(~np.isfinite(values)))

    @property
    def _mapped(self) -> bool:
        return self.dtype == "F32" and self.offset % FLOATS["F32"].alignment == 0

    def _chunks(self) -> Iterator[np.ndarray]:
        """The values as they are stored, flat, some at a time."""
        size = math.prod(self.shape)
        if self._mapped:
            flat = self.load().reshape(-1)
            yield from (flat[i:i + CHUNK] for i in range(0, size, CHUNK))
            return
        with self.path.open("rb") as file:
            file.seek(self.offset)
            yield from (self._read(file, min(CHUNK, size - i)) for i in range(0, size, CHUNK))

    def _read(self, file, count: int) -> np.ndarray:
        """The next values of the file, as they are stored."""
        values = np.fromfile(file, FLOATS[self.dtype], count)
        if len(values) < count:
            raise CheckpointError("it ends too early; use another copy")
        return values


def bfloat16_to_float32(bits: np.ndarray) -> np.ndarray:
    """The same values in float32: bfloat16 is its upper half."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
