"""Launching the CUDA kernels that stand in a .cu file beside a Python file."""

from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_gpt.backend import Array, backend_of
from tinygrad_gpt.errors import DTypeError

__all__ = ["THREADS", "Kernels", "accumulator"]

THREADS = 256  # of a block
SCALARS = {"float32": "float", "float64": "double", "float16": "__half", "bfloat16": "__nv_bfloat16"}


class Kernels:
    """The kernels of the .cu file beside a Python file, which says ``KERNELS = Kernels(__file__)``."""

    def __init__(self, file: str):
        self.source = Path(file).with_suffix(".cu")

    def launch(self, name: str, like: Array, blocks: int | tuple[int, ...], *args: Any,
               threads: tuple[int, ...] = (THREADS,), shared: int = 0) -> None:
        """Run a kernel, a template over the type of the array ``like``, on its backend; without blocks there is
        nothing to do. See `Backend.launch` for the other arguments.

        Raises:
            DTypeError: "kernel 'gelu': no such kernel for complex64 ..."
        """
        grid = blocks if isinstance(blocks, tuple) else (blocks,)
        scalar = SCALARS.get(like.dtype.name)
        if scalar is None:
            raise DTypeError(f"kernel '{name}': no such kernel for {like.dtype}; use one of {', '.join(SCALARS)}")
        if all(grid):
            backend_of(like).launch(self.source, f"{name}<{scalar}>", grid, threads, args, shared)

    def elementwise(self, name: str, like: Array, *args: Any) -> None:
        """Run a kernel with one thread for each element of ``like``; it gets their number as its last argument."""
        self.launch(name, like, -(-like.size // THREADS), *args, like.size)


def accumulator(dtype: Any) -> np.dtype:
    """The dtype that kernels calculate in: float64 for float64, else float32."""
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)
