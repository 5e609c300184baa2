"""Launching the CUDA kernels of a .cu file."""

from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_gpt.backend import Array, backend_of, is_integer
from tinygrad_gpt.errors import DTypeError

__all__ = ["CHUNK", "THREADS", "Kernels", "accumulator"]

THREADS = 256  # of a block
CHUNK = 128  # rows that a block sums
SCALARS = {"float32": "float", "float64": "double", "float16": "__half", "bfloat16": "__nv_bfloat16"}


class Kernels:
    """The kernels of a .cu file of this folder.

    Args:
        name: of the file, without its suffix.
    """

    def __init__(self, name: str):
        self.source = Path(__file__).with_name(f"{name}.cu")

    def launch(self, name: str, like: Array, blocks: int | tuple[int, ...], *args: Any,
               threads: tuple[int, ...] = (THREADS,), shared: int = 0) -> None:
        """Run a kernel, a template over the type of the array ``like``, on its backend; see `Backend.launch`.

        Where ``like`` holds no floats the kernel is no template. Without blocks there is nothing to do.

        Raises:
            DTypeError: "kernel 'gelu': none for complex64; use one of float32, float64, float16, bfloat16"
        """
        grid = blocks if isinstance(blocks, tuple) else (blocks,)
        if not is_integer(like.dtype):
            if like.dtype.name not in SCALARS:
                raise DTypeError(f"kernel '{name}': none for {like.dtype}; use one of {', '.join(SCALARS)}")
            name = f"{name}<{SCALARS[like.dtype.name]}>"
        launch: Any = backend_of(like).launch
        if all(grid):
            launch(self.source, name, grid, threads, args, shared)

    def elementwise(self, name: str, like: Array, *args: Any) -> None:
        """Run a kernel with a thread for each 16 bytes of ``like``; the number of elements is its last argument."""
        self.launch(name, like, -(-like.size * like.itemsize // (16 * THREADS)), *args, like.size)

    def sum_rows(self, name: str, like: Array, flat: tuple[int, int], count: int, *args: Any) -> list[Array]:
        """Sums (C) over the rows of arrays (N, C), ``count`` of them at once, each added up in one order only.

        The kernel ``name`` is the first of two stages: block (k, i), of 32 × 8 threads, sums 32 columns over the rows
        of chunk i. After its own arguments it gets sums (chunks, count, C), N, C and the rows of a chunk.
        """
        (rows, columns), xp = flat, backend_of(like).xp
        chunk = max(CHUNK, rows >> 15)
        chunks = max(1, -(-rows // chunk))
        sums = xp.empty((chunks, count, columns), dtype=accumulator(like.dtype))
        self.launch(name, like, (-(-columns // 32), chunks), *args, sums, rows, columns, chunk, threads=(32, 8))
        totals = [xp.empty(columns, dtype=like.dtype) for _ in range(count)]
        first, second = (*totals, None)[:2]
        self.launch("sum_chunks", like, -(-count * columns // THREADS), sums, first, second, chunks, columns)
        return totals


def accumulator(dtype: Any) -> np.dtype:
    """The dtype that kernels calculate in: float64 for float64, else float32."""
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)
