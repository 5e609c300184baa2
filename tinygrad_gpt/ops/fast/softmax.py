"""The cross-entropy loss, in place."""

from tinygrad_gpt.engine import fast

__all__ = ["cross_entropy", "row_weights"]


def row_weights(xp, targets, class_weight, ignore_index, dtype):
    """Weight of each row in the mean (0 where ignored), and targets that are safe to index with. Both (N,)."""
    counts = targets != ignore_index
    safe = xp.where(counts, targets, 0)
    weights = counts.astype(dtype)
    return weights if class_weight is None else weights * class_weight[safe], safe


@fast("cross_entropy")
def cross_entropy(xp, logits, targets, class_weight=None, *, ignore_index=-100, label_smoothing=0.0):
    """Op 'cross_entropy'; saves the probabilities and the rows' weights in place of the (N, V) targets q."""
    shape, n_classes = logits.shape, logits.shape[-1]
    logits, targets = logits.reshape(-1, n_classes), targets.reshape(-1)
    weights, safe = row_weights(xp, targets, class_weight, ignore_index, logits.dtype)
    counted = targets != ignore_index
    total = weights.sum()
    total = total + (total == 0)  # all ignored: 0 / 1
    at_target = xp.arange(safe.shape[0]), safe
    own = (1 - label_smoothing) * weights if label_smoothing else weights  # of the target's own class
    share = label_smoothing / n_classes  # of every class in the smoothed target
    c_sum = n_classes if class_weight is None else class_weight.sum()

    # Less the row's largest, before anything is added up: large logits lose no digits.
    shifted = logits - logits.max(axis=-1, keepdims=True)
    picked = shifted[at_target]
    if label_smoothing:
        spread = shifted.sum(axis=-1) if class_weight is None else shifted @ class_weight
    p = xp.exp(shifted, out=shifted)
    sums = p.sum(axis=-1, keepdims=True)
    p /= sums
    lse = xp.log(sums)[:, 0]  # (N,) ln Σ e^shifted
    loss = own @ xp.where(counted, lse - picked, 0.0) / total
    if label_smoothing:
        loss = loss + share * xp.where(counted, c_sum * lse - spread, 0.0).sum() / total

    def grad_logits(g):
        grad = xp.empty_like(p)  # allocated first: freeing the logits left a block of exactly this size
        scale = g / total
        own_grad = own * scale
        q_sum = own_grad
        if label_smoothing:
            spread_grad = share * scale * counted
            q_sum = own_grad + c_sum * spread_grad
        xp.multiply(p, q_sum[:, None], out=grad)
        grad[at_target] -= own_grad
        if label_smoothing:
            grad -= spread_grad[:, None] * (1.0 if class_weight is None else class_weight)
        return grad.reshape(shape)

    return loss, (grad_logits, None, None)
