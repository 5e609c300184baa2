"""A tensor that lies in a file: where, and how it becomes an array with as few copies as possible."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinygrad_gpt.errors import CheckpointError

__all__ = ["StoredTensor", "bfloat16_to_float32"]

# safetensors' name of a dtype: how NumPy reads its bits.
FLOATS: dict[str, np.dtype] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}


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
        """Whether its dtype is one that weights have."""
        return self.dtype in FLOATS

    def load(self) -> np.ndarray:
        """The values in float32: the file itself, mapped copy-on-write, where it holds float32 on an aligned offset.

        Elsewhere (half precision, or the unaligned files that safetensors wrote before 2023) they are read: NumPy
        would copy an unaligned array before every matrix product.
        """
        dtype, count = FLOATS[self.dtype], math.prod(self.shape)
        if self.dtype == "F32" and self.offset % dtype.alignment == 0:
            return np.memmap(self.path, dtype, "c", self.offset, self.shape).view(np.ndarray)
        values = np.fromfile(self.path, dtype, count, offset=self.offset)
        if len(values) < count:
            raise CheckpointError("it ends too early; use another copy")
        values = values.reshape(self.shape)
        return bfloat16_to_float32(values) if self.dtype == "BF16" else values.astype(np.float32, copy=False)


def bfloat16_to_float32(bits: np.ndarray) -> np.ndarray:
    """The same values in float32: bfloat16 is its upper half."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
