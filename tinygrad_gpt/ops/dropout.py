"""Dropout, and the masks that it takes as an argument."""

import math

from tinygrad_gpt.engine import op
from tinygrad_gpt.engine.forms import forms
from tinygrad_gpt.errors import ShapeError

__all__ = ["dropout", "keep_mask", "rounds"]


def _check(x, keep, p):
    if x.shape != keep.shape:
        raise ShapeError(f"op 'dropout': x is {x.shape} but keep is {keep.shape}")
    if not 0 <= p < 1:
        raise ShapeError(f"op 'dropout': p is {p}, expected 0 ≤ p < 1")


@op(samples=lambda r: [(r.normal(3, 4), r.mask(3, 4), {"p": 0.25})],
    errors=lambda r: [((r.normal(3, 4), r.mask(3), {"p": 0.5}), "x is (3, 4) but keep is (3,)"),
                      ((r.normal(3), r.mask(3), {"p": 1.0}), "p is 1.0, expected 0 ≤ p < 1")],
    check=_check)
def dropout(xp, x, keep, *, p):
    """Set to zero what the mask does not keep, and scale the rest so that the expectation stays.

    Forward:  y = x ⊙ keep / (1 − p)
    Gradient: x̄ = ȳ ⊙ keep / (1 − p)
    Shapes:   x (...), keep (...) bool -> y (...)
    Saves:    keep
    Source:   Srivastava et al. 2014, JMLR 15
    """
    scale = 1 / (1 - p)

    def grad_x(g):
        return g * keep * scale  # y = x ⊙ keep / (1 − p)

    return x * keep * scale, (grad_x, None)


@forms
def keep_mask(xp, seed, shape, p, start=0):
    """Bool array (shape), each element True with probability 1 − p, a pure function of ``seed`` and its place.

    A counter is hashed instead of a generator advanced, so that NumPy and CuPy agree bit for bit and a
    resumed run repeats its masks, and processes that share a batch draw the rows of one mask.

    Args:
        xp: the array package, of `Backend.namespace`.
        seed: an integer of up to 64 bits.
        shape: of the mask.
        p: the probability of False, 0 to 1.
        start: elements of a larger mask before this part of it.

    Source: the integer hash "lowbias32" of C. Wellons, "Prospecting for hash functions", 2018.
    """
    bits = xp.arange(math.prod(shape), dtype=xp.uint32) + xp.uint32(start & 0xFFFFFFFF)
    for key, shift, factor in rounds(seed):
        bits = bits ^ xp.uint32(key)
        bits = (bits ^ (bits >> shift)) * xp.uint32(factor)
    bits = bits ^ (bits >> 15)
    return (bits >= xp.uint32(int(p * 2**32))).reshape(shape)


def rounds(seed):
    """Key, shift and factor of the two rounds of the hash; the keys are the lower and the upper half of the seed."""
    return (seed & 0xFFFFFFFF, 16, 0x21F0AAAD), (seed >> 32 & 0xFFFFFFFF, 15, 0xD35A2D97)
