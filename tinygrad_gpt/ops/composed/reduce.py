"""Reductions from simpler ones."""

import math

from tinygrad_gpt.engine import composed
from tinygrad_gpt.ops.elementwise import exp, log, where
from tinygrad_gpt.ops.reduce import max_, sum_

__all__ = ["logsumexp", "mean"]


@composed("mean")
def mean(x, *, axis=None, keepdims=False):
    total = sum_(x, axis=axis, keepdims=keepdims)
    return total * (1 / (x.size // max(1, total.size) or math.nan))


@composed("logsumexp")
def logsumexp(x, *, axis=None, keepdims=False):
    largest = max_(x.detach(), axis=axis, keepdims=True)
    largest = where(largest.isfinite(), largest, 0.0)
    result = log(sum_(exp(x - largest), axis=axis, keepdims=True)) + largest
    return result if keepdims else result.reshape(sum_(x.detach(), axis=axis).shape)
