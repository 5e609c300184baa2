"""Many arrays in one launch of a kernel: updating one parameter often takes less time than a launch."""

import functools
from collections.abc import Iterable

import numpy as np

from tinygrad_gpt.backend import Array, Backend, backend_of

__all__ = ["one_launch", "spans"]

SPAN = 1 << 12  # elements that a block of threads takes


def one_launch(arrays: Iterable[Array]) -> bool:
    """Whether a kernel can go through these arrays element by element."""
    return all(backend_of(a).launch is not None and a.flags.c_contiguous for a in arrays)


@functools.lru_cache(maxsize=16)
def spans(backend: Backend, sizes: tuple[int, ...]) -> Array:
    """The part of the arrays of each block of threads: int64 (blocks, 3), number of the array, first element, end."""
    table = [(i, start, min(start + SPAN, size)) for i, size in enumerate(sizes) for start in range(0, size, SPAN)]
    return backend.from_numpy(np.array(table, np.int64).reshape(-1, 3))
