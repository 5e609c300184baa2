"""Masks of dropout, in place, in parts that fit a core's cache."""

import math

from tinygrad_gpt.backend import cached_slices
from tinygrad_gpt.engine import fast
from tinygrad_gpt.ops.dropout import rounds

__all__ = ["keep_mask"]

TILE = 1 << 16  # numbers of a mask that are made at a time


@fast("keep_mask")
def keep_mask(xp, seed, shape, p, start=0):
    """Function 'keep_mask'."""
    keep, least = xp.empty(math.prod(shape), dtype=bool), xp.uint32(int(p * 2**32))  # hash of an element that is kept
    for part in cached_slices(keep, TILE):
        bits = xp.arange(part.start, min(part.stop, len(keep)), dtype=xp.uint32)
        bits += xp.uint32(start & 0xFFFFFFFF)
        for key, shift, factor in rounds(seed):
            bits ^= xp.uint32(key)
            bits ^= bits >> shift
            bits *= xp.uint32(factor)
        bits ^= bits >> 15
        keep[part] = bits >= least
    return keep.reshape(shape)
