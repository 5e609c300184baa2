"""Dropout and its masks, a thread for each element."""

import math

from tinygrad_gpt.engine import cuda
from tinygrad_gpt.ops.cuda.launch import Kernels

__all__ = ["dropout", "hashing", "keep_mask"]

KERNELS = Kernels("dropout")


@cuda("dropout")
def dropout(xp, x, keep, *, p):
    """Op 'dropout'; saves keep."""
    keep = xp.ascontiguousarray(keep.astype(bool, copy=False))

    def kept(x):
        y = xp.empty(x.shape, dtype=x.dtype)
        KERNELS.elementwise("dropout", x, xp.ascontiguousarray(x), keep, y, float(1 / (1 - p)))
        return y

    return kept(x), (kept, None)


@cuda("keep_mask")
def keep_mask(xp, seed, shape, p, start=0):
    """Function 'keep_mask'."""
    keep = xp.empty(math.prod(shape), dtype=bool)
    KERNELS.elementwise("keep_mask", keep, keep, *hashing(seed, p, start))
    return keep.reshape(shape)


def hashing(seed: int | None, p: float, start: int) -> tuple[int, int, int, int]:
    """What kernels hash a mask with: the parts of the seed, the least hash that is kept (0: all are), and the start."""
    return (0, 0, 0, 0) if seed is None else (seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF, int(p * 2**32), start)
