"""A tensor that lies in a file: where, and how it becomes an array with as few copies as possible."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinygrad_gpt.backend import cached_slices
from tinygrad_gpt.backend.blas import in_threads
from tinygrad_gpt.errors import CheckpointError

__all__ = ["Checksum", "ComputedTensor", "FileTensor", "StoredTensor", "bfloat16_to_float32", "float16_to_float32",
           "load_all"]

# safetensors' name of a dtype: how NumPy reads its bits.
FLOATS: dict[str, np.dtype] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
TILE = 1 << 16  # elements that are converted at a time, in a core's cache


class MappedFiles(dict[Path, np.memmap]):
    """The bytes of files, each mapped copy-on-write when it is first asked for, as a whole.

    Of a whole file the system can map two megabytes at a time, of a part that begins anywhere it maps single pages.
    """

    def __missing__(self, path: Path) -> np.memmap:
        return self.setdefault(path, np.memmap(path, np.uint8, "c"))


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

    @property
    def is_mapped(self) -> bool:
        """Whether `load` returns the file itself, not a copy."""
        return self._is_float32_in_place and self.strides is None

    @property
    def _is_float32_in_place(self) -> bool:
        """Whether its elements can be computed with where they lie."""
        return self.dtype == "F32" and self.offset % FLOATS["F32"].alignment == 0

    def load(self, files: MappedFiles | None = None) -> np.ndarray:
        """The values in float32: the file itself, mapped copy-on-write, where it holds float32 on an aligned offset.

        Elsewhere (half precision, or the unaligned files that safetensors wrote before 2023) they are copied: NumPy
        would copy an unaligned array before every matrix product.

        Args:
            files: those that are mapped already; None: the file is mapped for this tensor alone.
        """
        if self.checksum is not None:
            self.checksum.check(self.path)
        if not math.prod(self.shape):
            return np.empty(self.shape, np.float32)
        files = MappedFiles() if files is None else files
        if self.strides is None:
            return self._elements(files, math.prod(self.shape)).reshape(self.shape).view(np.ndarray)
        last = sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        values = self._elements(files, last + 1)
        octets = tuple(stride * values.itemsize for stride in self.strides)
        return np.lib.stride_tricks.as_strided(values, self.shape, octets).copy()

    def _elements(self, files: MappedFiles, count: int) -> np.ndarray:
        """Elements from the offset on, (count,) float32; of what is copied only its own part is mapped, and not kept.
        """
        dtype = FLOATS[self.dtype]
        end = self.offset + count * dtype.itemsize
        if end > self.path.stat().st_size:
            raise CheckpointError("it ends too early; use another copy")
        if self._is_float32_in_place:
            return files[self.path][self.offset:end].view(dtype)
        octets = np.memmap(self.path, np.uint8, "r", self.offset, (end - self.offset,)).view(np.ndarray)
        if self.dtype == "F32":
            return octets.copy().view(dtype)  # bytes are copied faster than numbers that are not aligned
        return (float16_to_float32 if self.dtype == "F16" else bfloat16_to_float32)(octets.view(dtype))


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

    @property
    def is_mapped(self) -> bool:
        """Whether `load` returns the file itself: it does not."""
        return False

    def load(self, files: MappedFiles | None = None) -> np.ndarray:
        """The values in float32."""
        return self.compute()


FileTensor = StoredTensor | ComputedTensor


def load_all(tensors: Mapping[str, FileTensor]) -> dict[str, np.ndarray]:
    """The values of tensors in float32, each file being mapped once; what must be copied is, on all threads.

    New memory is slow to write for the first time, and threads share that work.
    """
    files = MappedFiles()
    mapped = {name: tensor.load(files) for name, tensor in tensors.items() if tensor.is_mapped}
    copied = sorted(tensors.keys() - mapped.keys(), key=lambda name: (-math.prod(tensors[name].shape), name))
    copies = in_threads(lambda name: tensors[name].load(files), copied)
    loaded = mapped | dict(zip(copied, copies, strict=True))
    return {name: loaded[name] for name in tensors}


def float16_to_float32(halves: np.ndarray) -> np.ndarray:
    """The same values in float32, (N,), in a quarter of the time of ``astype``.

    The bits are shifted to float32's places. Its exponent bias is 127, not 15, so the result is multiplied by 2¹¹².
    """
    values = np.empty(halves.shape, np.float32)
    for part in cached_slices(values, TILE):
        tile = values[part]
        bits = tile.view(np.int32)
        bits[...] = halves[part].view("<i2")
        bits <<= 13
        bits &= ~0x70000000  # copies of the sign
        tile *= 2.0**112
        if not -65536 < tile.min() <= tile.max() < 65536:  # the largest exponent stands for infinity and NaN
            tile[...] = halves[part]
    return values


def bfloat16_to_float32(bits: np.ndarray) -> np.ndarray:
    """The same values in float32: bfloat16 is its upper half."""
    return np.left_shift(bits, 16, dtype=np.uint32).view(np.float32)
