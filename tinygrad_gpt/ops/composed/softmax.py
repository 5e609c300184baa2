"""Softmax and the loss from exponentials and sums."""

from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.engine import composed, raw
from tinygrad_gpt.ops.elementwise import exp, where
from tinygrad_gpt.ops.reduce import logsumexp, max_, sum_

__all__ = ["cross_entropy", "log_softmax", "softmax"]


@composed("softmax")
def softmax(x, *, axis=-1):
    e = exp(x - max_(x.detach(), axis=axis, keepdims=True))
    return e / sum_(e, axis=axis, keepdims=True)


@composed("log_softmax")
def log_softmax(x, *, axis=-1):
    shifted = x - max_(x.detach(), axis=axis, keepdims=True)
    return shifted - logsumexp(shifted, axis=axis, keepdims=True)


@composed("cross_entropy")
def cross_entropy(logits, targets, class_weight=None, *, ignore_index=-100, label_smoothing=0.0):
    n_classes = logits.shape[-1]
    logp = log_softmax(logits.reshape(-1, n_classes))
    xp, targets = backend_of(logp.data).xp, raw(targets).reshape(-1)
    counted = targets != ignore_index
    safe, weights = xp.where(counted, targets, 0), counted.astype(logp.dtype)  # of each row in the mean
    if class_weight is not None:
        weights = weights * raw(class_weight)[safe]
    total = weights.sum()
    total = total + (total == 0)  # all ignored: 0 / 1
    loss = -sum_(where(counted, logp[xp.arange(safe.size), safe], 0.0) * weights) / total  # 0 · ∞ would be NaN
    if not label_smoothing:
        return loss
    spread = logp if class_weight is None else logp * class_weight.detach()
    uniform = sum_(where(counted[:, None], spread, 0.0)) / total
    return loss * (1 - label_smoothing) - uniform * (label_smoothing / n_classes)
