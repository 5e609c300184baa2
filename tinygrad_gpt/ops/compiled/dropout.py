"""Masks of dropout in one pass."""

import math

from tinygrad_gpt.engine import compiled
from tinygrad_gpt.ops.compiled import kernels

__all__ = ["keep_mask"]


@compiled("keep_mask")
def keep_mask(xp, seed, shape, p, start=0):
    """Function 'keep_mask'."""
    keep = xp.empty(math.prod(shape), dtype=bool)
    words = start & 0xFFFFFFFF, seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF, int(p * 2**32)
    kernels.keep_mask(keep, *map(xp.uint32, words))
    return keep.reshape(shape)
