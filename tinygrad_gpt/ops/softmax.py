"""Softmax, log-softmax and the cross-entropy loss."""

import math
import warnings

import numpy as np

from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.engine import op, raw, values_are_checked
from tinygrad_gpt.errors import DTypeError, ShapeError
from tinygrad_gpt.ops.elementwise import exp
from tinygrad_gpt.ops.kernels import Kernels, accumulator
from tinygrad_gpt.ops.reduce import logsumexp, max_, sum_

__all__ = ["cross_entropy", "log_softmax", "softmax"]

KERNELS = Kernels(__file__)


def _samples(r):
    return [(r.normal(2, 3),), (r.normal(2, 3, 4), {"axis": 1})]


def _bad_axis(r):
    return [((r.normal(2, 3), {"axis": 2}), "axis 2 is out of bounds")]


def _softmax_composed(x, *, axis=-1):
    e = exp(x - max_(x.detach(), axis=axis, keepdims=True))
    return e / sum_(e, axis=axis, keepdims=True)


def _softmax_cuda(xp, x, *, axis=-1):
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


@op(samples=_samples, errors=_bad_axis, composed=_softmax_composed, cuda=_softmax_cuda)
def softmax(xp, x, *, axis=-1):
    """Exponentials along an axis, scaled to sum to one.

    Forward:  y = e^(x − max x) / Σ e^(x − max x)
    Gradient: x̄ = y ⊙ (ȳ − Σ ȳ ⊙ y)
    Shapes:   x (...) -> y (...)
    Saves:    y
    Source:   Jacobian diag(y) − y yᵀ
    """
    y = xp.exp(x - x.max(axis=axis, keepdims=True))
    y /= y.sum(axis=axis, keepdims=True)

    def grad_x(g):
        return y * (g - (g * y).sum(axis=axis, keepdims=True))

    return y, (grad_x,)


def _log_softmax_composed(x, *, axis=-1):
    return x - logsumexp(x, axis=axis, keepdims=True)


@op(samples=_samples, errors=_bad_axis, composed=_log_softmax_composed)
def log_softmax(xp, x, *, axis=-1):
    """Logarithm of the softmax, without overflow.

    Forward:  y = x − ln Σ eˣ
    Gradient: x̄ = ȳ − eʸ ⊙ Σ ȳ
    Shapes:   x (...) -> y (...)
    Saves:    y
    Source:   Jacobian 1 − softmax
    """
    shifted = x - x.max(axis=axis, keepdims=True)
    y = shifted - xp.log(xp.exp(shifted).sum(axis=axis, keepdims=True))

    def grad_x(g):
        return g - xp.exp(y) * g.sum(axis=axis, keepdims=True)

    return y, (grad_x,)


def row_weights(xp, targets, class_weight, ignore_index, dtype):
    """Weight of each row in the mean (0 where ignored), and targets that are safe to index with. Both (N,)."""
    counts = targets != ignore_index
    safe = xp.where(counts, targets, 0)
    weights = counts.astype(dtype)
    return weights if class_weight is None else weights * class_weight[safe], safe


def _cross_entropy_composed(logits, targets, class_weight=None, *, ignore_index=-100, label_smoothing=0.0):
    n_classes = logits.shape[-1]
    logp = log_softmax(logits.reshape(-1, n_classes))
    xp, targets = backend_of(logp.data).xp, raw(targets).reshape(-1)
    weights, safe = row_weights(xp, targets, raw(class_weight), ignore_index, logp.dtype)
    total = weights.sum()
    total = total + (total == 0)  # all ignored: 0 / 1
    loss = -sum_(logp[xp.arange(safe.size), safe] * weights) / total
    if not label_smoothing:
        return loss
    counts = (targets[:, None] != ignore_index).astype(logp.dtype)
    spread = logp if class_weight is None else logp * class_weight.detach()
    return loss * (1 - label_smoothing) - sum_(spread * counts) / total * (label_smoothing / n_classes)


def _cross_entropy_samples(r):
    logits, targets = r.normal(4, 5), r.integers(5, 4)
    ignored = targets.copy()
    ignored[1] = -100
    return [(logits, targets), (logits, ignored, r.positive(5)), (r.normal(2, 3, 5), r.integers(5, 2, 3)),
            (logits, ignored, r.positive(5), {"label_smoothing": 0.1}), (logits, ignored, {"label_smoothing": 0.2}),
            (logits, r.integers(5, 4), {"ignore_index": 2})]


def _check(logits, targets, class_weight, ignore_index):
    check_targets("cross_entropy", "logits are", logits, targets, logits.shape[-1:], ignore_index)
    if class_weight is not None and class_weight.shape != logits.shape[-1:]:
        raise ShapeError(f"op 'cross_entropy': class_weight is {class_weight.shape} but there are {logits.shape[-1]} "
                         "classes")


def _cross_entropy_cuda(xp, logits, targets, class_weight=None, *, ignore_index=-100, label_smoothing=0.0):
    _check(logits, targets, class_weight, ignore_index)
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


@op(samples=_cross_entropy_samples,
    errors=lambda r: [((r.normal(2, 3), r.integers(3, 4)), "logits are (2, 3) but targets are (4,)"),
                      ((r.normal(2, 3), r.integers(3, 2) + 3), "outside 0 … 2"),
                      ((r.normal(2, 3), r.normal(2)), "targets are float64, expected integers"),
                      ((r.normal(2, 3), r.integers(3, 2), r.normal(2)), "class_weight is (2,) but there are 3")],
    composed=_cross_entropy_composed, cuda=_cross_entropy_cuda)
def cross_entropy(xp, logits, targets, class_weight=None, *, ignore_index=-100, label_smoothing=0.0):
    """Mean negative log-likelihood of the targets, weighted by class; rows with ``ignore_index`` do not count.

    Forward:  y = Σ_n w_n (−(1−s) ln p_n[t_n] − s/V Σ_v c_v/w_n ln p_nv) / Σ_n w_n,
              p = softmax(logits), c = class_weight or 1, w_n = c[t_n] or 0 where ignored, s = label_smoothing
    Gradient: logits̅ = ȳ (p_n Σ_v q_nv − q_n) / Σ_n w_n,  q_nv = (1−s) w_n [v = t_n] + s/V c_v (0 where ignored)
    Shapes:   logits (..., V), targets (...) integers, class_weight (V) or None -> y ()
    Saves:    p, rows, safe, weights, counts, class_weight, c_sum, total
    Source:   Szegedy et al. 2016, arXiv:1512.00567, section 7; torch.nn.functional.cross_entropy
    """
    _check(logits, targets, class_weight, ignore_index)
    shape, n_classes = logits.shape, logits.shape[-1]
    logits, targets = logits.reshape(-1, n_classes), targets.reshape(-1)
    weights, safe = row_weights(xp, targets, class_weight, ignore_index, logits.dtype)
    counts = (targets != ignore_index).astype(logits.dtype)
    total = weights.sum()
    total = total + (total == 0)  # all ignored: 0 / 1
    rows = xp.arange(safe.shape[0])
    share = label_smoothing / n_classes  # of every class in the smoothed target
    c_sum = n_classes if class_weight is None else class_weight.sum()

    # Less the row's largest, before anything is added up: large logits lose no digits.
    shifted = logits - logits.max(axis=-1, keepdims=True)
    picked = shifted[rows, safe]
    if label_smoothing:
        spread = shifted.sum(axis=-1) if class_weight is None else shifted @ class_weight
    p = xp.exp(shifted, out=shifted)
    sums = p.sum(axis=-1, keepdims=True)
    p /= sums
    lse = xp.log(sums)[:, 0]  # (N,) ln Σ e^shifted
    loss = (1 - label_smoothing) * (weights * (lse - picked)).sum() / total
    if label_smoothing:
        loss = loss + share * (counts * (c_sum * lse - spread)).sum() / total

    def grad_logits(g):
        grad = xp.empty_like(p)  # first: the logits have left a hole of this size in the heap, still in one piece
        q_sum = (1 - label_smoothing) * weights
        if label_smoothing:
            q_sum = q_sum + share * counts * c_sum
        scale = g / total
        xp.multiply(p, (q_sum * scale)[:, None], out=grad)
        grad[rows, safe] -= (1 - label_smoothing) * weights * scale
        if label_smoothing:
            grad -= (share * counts * scale)[:, None] * (1.0 if class_weight is None else class_weight)
        return grad.reshape(shape)

    return loss, (grad_logits, None, None)


def check_targets(name, scored, x, targets, classes, ignore_index):
    """Refuse targets that do not belong to the rows of x (..., C), or that name no class.

    ``scored`` names x in the error, as "x is"; ``classes`` is a shape that begins with their number.
    """
    if targets.dtype.kind not in "iu":
        raise DTypeError(f"op '{name}': targets are {targets.dtype}, expected integers (class ids)")
    if x.shape[:-1] != targets.shape or not x.ndim:
        raise ShapeError(f"op '{name}': {scored} {x.shape} but targets are {targets.shape}; "
                         f"targets must be {x.shape[:-1]}")
    if values_are_checked(targets):
        counted = targets[targets != ignore_index]
        if counted.size and not (counted.min() >= 0 and counted.max() < classes[0]):
            raise ShapeError(f"op '{name}': targets hold {counted.min()} … {counted.max()}, "
                             f"outside 0 … {classes[0] - 1} and not ignore_index={ignore_index}")
        if not counted.size:
            warnings.warn(f"op '{name}': all {targets.size} targets are ignored; the loss is 0", stacklevel=4)
