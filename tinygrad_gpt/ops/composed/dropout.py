"""Dropout from two products."""

from tinygrad_gpt.engine import composed
from tinygrad_gpt.ops.elementwise import mul

__all__ = ["dropout"]


@composed("dropout")
def dropout(x, keep, *, p):
    return mul(mul(x, keep), 1 / (1 - p))
