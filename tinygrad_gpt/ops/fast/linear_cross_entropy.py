"""The loss over a vocabulary, of whose logits only some rows exist at a time."""

from tinygrad_gpt.backend import cached_slices, equal_slices
from tinygrad_gpt.engine import fast
from tinygrad_gpt.ops.fast.softmax import row_weights

__all__ = ["LOGITS", "PRODUCT", "linear_cross_entropy", "loss_in_parts"]

LOGITS = 1 << 24  # logits in memory at once
PRODUCT = 1 << 21  # elements of the weight's gradient that are computed at a time
TILE = 1 << 18  # logits in a core's cache


@fast("linear_cross_entropy")
def linear_cross_entropy(xp, x, weight, targets, *, ignore_index=-100, needs_input_grad=(True, True, False)):
    """Op 'linear_cross_entropy'; the gradients are made on the way forward, for ȳ = 1: the logits are overwritten."""
    return loss_in_parts(xp, (x, weight, targets), ignore_index, needs_input_grad, _softmax_minus_target)


def loss_in_parts(xp, arguments, ignore_index, needs_input_grad, softmax_minus_target):
    """The op 'linear_cross_entropy' with a given loop over logits, see `_softmax_minus_target`."""
    x, weight, targets = arguments
    targets = targets.reshape(-1)
    counts, safe = row_weights(xp, targets, None, ignore_index, x.dtype)
    total = counts.sum()
    share = counts / (total + (total == 0))  # all ignored: 0 / 1

    def passes():
        return _both_passes(xp, x, weight, safe, share, needs_input_grad, softmax_minus_target)

    y, *made = passes()

    def grads(g):
        nonlocal made
        x_and_weight = made or passes()[1:]
        made = None  # handed over, so that only one copy of the largest array exists; a second backward recomputes it
        for grad in x_and_weight:
            if grad is not None:
                grad *= g
        return *x_and_weight, None

    return y, grads


def _both_passes(xp, x, weight, targets, share, needs_input_grad, softmax_minus_target):
    """Loss (), gradient of x (..., C) and of weight (V, C), None where not needed."""
    shape = x.shape
    x = x.reshape(len(targets), shape[-1])  # (N, C)
    losses = xp.empty(len(x), dtype=x.dtype)
    x_grad = xp.empty(x.shape, dtype=x.dtype) if needs_input_grad[0] else None
    weight_grad = xp.zeros(weight.shape, dtype=x.dtype) if needs_input_grad[1] and not len(x) else None
    for rows in equal_slices(len(x), -(-len(x) * len(weight) // LOGITS)):
        z = x[rows] @ weight.T  # (n, V)
        losses[rows] = softmax_minus_target(xp, z, targets[rows], share[rows])
        if x_grad is not None:
            x_grad[rows] = z @ weight
        if needs_input_grad[1]:
            weight_grad = _plus_product(xp, weight_grad, z, x[rows])
        del z  # before the next ones are made
    losses = share * xp.where(share, losses, 0.0)  # 0 · ∞ would be NaN
    return losses.sum(), None if x_grad is None else x_grad.reshape(shape), weight_grad


def _plus_product(xp, total, z, x):
    """zᵀ x (V, C), added to the total in place, if there is one: some rows at a time, without a second table.

    BLAS keeps a buffer of the width of a product for each thread: one of all rows would take 50 MiB.
    """
    is_first = total is None
    if is_first:
        total = xp.empty((z.shape[1], x.shape[1]), dtype=z.dtype)
    for some in cached_slices(total, PRODUCT):
        part = z[:, some].T @ x
        if is_first:
            total[some] = part
        else:
            total[some] += part
    return total


def _softmax_minus_target(xp, z, targets, share):
    """Turn logits z (n, V) in place into their gradient, share · (softmax(z) − [v = target]); return −ln p (n)."""
    losses = xp.empty(len(z), dtype=z.dtype)
    for rows in cached_slices(z, TILE):
        p, s = z[rows], share[rows]
        picked = xp.arange(len(p)), targets[rows]
        p -= p.max(axis=-1, keepdims=True)
        shifted = p[picked]
        xp.exp(p, out=p)
        sums = p.sum(axis=-1)
        losses[rows] = xp.log(sums) - shifted
        p *= (s / sums)[:, None]
        p[picked] -= s
    return losses
