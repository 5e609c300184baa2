"""Dropout, and the masks that it takes as an argument."""

import math

from tinygrad_gpt.backend import backend_of, cached_slices
from tinygrad_gpt.engine import op
from tinygrad_gpt.errors import ShapeError
from tinygrad_gpt.ops.elementwise import mul
from tinygrad_gpt.ops.kernels import Kernels

__all__ = ["dropout", "keep_mask"]

KERNELS = Kernels(__file__)
CACHED = 1 << 16  # numbers of a mask that are made at a time


def _dropout_composed(x, keep, *, p):
    return mul(mul(x, keep), 1 / (1 - p))


def _check(x, keep, p):
    if x.shape != keep.shape:
        raise ShapeError(f"op 'dropout': x is {x.shape} but keep is {keep.shape}")
    if not 0 <= p < 1:
        raise ShapeError(f"op 'dropout': p is {p}, expected 0 ≤ p < 1")


def _dropout_cuda(xp, x, keep, *, p):
    _check(x, keep, p)
    keep = xp.ascontiguousarray(keep.astype(bool, copy=False))

    def kept(x):
        y = xp.empty(x.shape, dtype=x.dtype)
        KERNELS.elementwise("dropout", x, xp.ascontiguousarray(x), keep, y, float(1 / (1 - p)))
        return y

    return kept(x), (kept, None)


@op(samples=lambda r: [(r.normal(3, 4), r.mask(3, 4), {"p": 0.25})],
    errors=lambda r: [((r.normal(3, 4), r.mask(3), {"p": 0.5}), "x is (3, 4) but keep is (3,)"),
                      ((r.normal(3), r.mask(3), {"p": 1.0}), "p is 1.0, expected 0 ≤ p < 1")],
    composed=_dropout_composed, cuda=_dropout_cuda)
def dropout(xp, x, keep, *, p):
    """Set to zero what the mask does not keep, and scale the rest so that the expectation stays.

    Forward:  y = x ⊙ keep / (1 − p)
    Gradient: x̄ = ȳ ⊙ keep / (1 − p)
    Shapes:   x (...), keep (...) bool -> y (...)
    Saves:    keep
    Source:   Srivastava et al. 2014, JMLR 15
    """
    _check(x, keep, p)
    scale = 1 / (1 - p)

    def grad_x(g):
        return g * keep * scale

    return x * keep * scale, (grad_x, None)


def keep_mask(xp, seed, shape, p):
    """Bool array (shape), each element True with probability 1 − p, a pure function of ``seed`` and its place.

    A counter is hashed instead of a generator advanced, so that NumPy and CuPy agree bit for bit and a
    resumed run repeats its masks. ``seed`` is an integer of up to 64 bits.

    Source: the integer hash "lowbias32" of C. Wellons, "Prospecting for hash functions", 2018.
    """
    keep, least = xp.empty(math.prod(shape), dtype=bool), int(p * 2**32)  # hash of a place that is kept
    if backend_of(keep).launch is not None:
        KERNELS.elementwise("keep_mask", keep, keep, *_halves(seed), least)
        return keep.reshape(shape)
    for part in cached_slices(keep, CACHED):
        bits = xp.arange(part.start, min(part.stop, len(keep)), dtype=xp.uint32)
        for key, shift, factor in zip(_halves(seed), (16, 15), (0x21F0AAAD, 0xD35A2D97), strict=True):
            bits ^= xp.uint32(key)
            bits ^= bits >> shift
            bits *= xp.uint32(factor)
        bits ^= bits >> 15
        keep[part] = bits >= xp.uint32(least)
    return keep.reshape(shape)


def _halves(seed):
    """The lower and the upper 32 bits."""
    return seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF
