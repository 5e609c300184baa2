"""Softmax and the cross-entropy loss, a block of threads for each row."""

import math

import numpy as np

from tinygrad_gpt.engine import cuda
from tinygrad_gpt.ops.cuda.launch import Kernels, accumulator

__all__ = ["cross_entropy", "softmax"]

KERNELS = Kernels("softmax")


@cuda("softmax")
def softmax(xp, x, *, axis=-1):
    """Op 'softmax'; saves y."""
    def rows_of(a):
        return xp.ascontiguousarray(xp.moveaxis(a, axis, -1))

    rows = rows_of(x)
    y = xp.empty(rows.shape, dtype=x.dtype)
    KERNELS.launch("softmax", x, math.prod(rows.shape[:-1]), rows, y, rows.shape[-1])
    y = xp.moveaxis(y, -1, axis)

    def grad_x(g):
        rows, y_rows = rows_of(g), rows_of(y)
        grad = xp.empty(rows.shape, dtype=g.dtype)
        KERNELS.launch("softmax_grad", g, math.prod(rows.shape[:-1]), rows, y_rows, grad, rows.shape[-1])
        return xp.moveaxis(grad, -1, axis)

    return y, (grad_x,)


@cuda("cross_entropy")
def cross_entropy(xp, logits, targets, class_weight=None, *, ignore_index=-100, label_smoothing=0.0):
    """Op 'cross_entropy'; saves the probabilities."""
    logits, targets = xp.ascontiguousarray(logits), xp.ascontiguousarray(targets.astype(np.int64, copy=False))
    if class_weight is not None:
        class_weight = xp.ascontiguousarray(class_weight)
    rows, settings = targets.size, (logits.shape[-1], ignore_index, float(label_smoothing))
    p = xp.empty(logits.shape, dtype=logits.dtype)
    losses, weights = (xp.empty(rows, dtype=accumulator(p.dtype)) for _ in range(2))
    KERNELS.launch("cross_entropy", p, rows, logits, targets, class_weight, p, losses, weights, *settings)
    total = weights.sum()
    total = total + (total == 0)  # all ignored: 0 / 1

    def grad_logits(g):
        grad = xp.empty(p.shape, dtype=p.dtype)
        KERNELS.launch("cross_entropy_grad", p, rows, p, targets, class_weight, g / total, grad, *settings)
        return grad

    return losses.sum() / total, (grad_logits, None, None)
