"""The loss of a language model, from the activations that its logits are made of."""

import numpy as np

from tinygrad_gpt.backend import backend_of, cached_slices, equal_slices
from tinygrad_gpt.engine import op
from tinygrad_gpt.errors import ShapeError
from tinygrad_gpt.ops.kernels import Kernels, accumulator
from tinygrad_gpt.ops.matmul import linear
from tinygrad_gpt.ops.shape import transpose
from tinygrad_gpt.ops.softmax import check_targets, cross_entropy, row_weights

__all__ = ["linear_cross_entropy"]

LOGITS = 1 << 24  # that exist at a time
DEVICE_LOGITS = 1 << 27  # the same on a GPU
KERNELS = Kernels(__file__)
CACHED = 1 << 18  # elements in a core's cache
PRODUCT = 1 << 22  # of the gradient of the weight, added at a time


def _linear_cross_entropy_composed(x, weight, targets, *, ignore_index=-100):
    return cross_entropy(linear(x, transpose(weight)), targets, ignore_index=ignore_index)


def _linear_cross_entropy_samples(r):
    x, weight, targets = r.normal(4, 3), r.normal(5, 3), r.integers(5, 4)
    ignored = targets.copy()
    ignored[1] = -100
    return [(x, weight, targets), (x, weight, ignored), (r.normal(2, 3, 2), r.normal(5, 2), r.integers(5, 2, 3)),
            (x, weight, targets, {"ignore_index": 2})]


def _check(x, weight, targets, ignore_index):
    if x.ndim == 0 or weight.ndim != 2 or x.shape[-1] != weight.shape[1]:
        raise ShapeError(f"op 'linear_cross_entropy': x is {x.shape} but weight is {weight.shape}, expected "
                         f"(V, {x.shape[-1] if x.ndim else 'C'})")
    check_targets("linear_cross_entropy", "x is", x, targets, weight.shape, ignore_index)


def _linear_cross_entropy_cuda(xp, x, weight, targets, *, ignore_index=-100, needs_input_grad=(True, True, False)):
    _check(x, weight, targets, ignore_index)
    targets = xp.ascontiguousarray(targets.reshape(-1).astype(np.int64, copy=False))
    total = xp.maximum((targets != ignore_index).sum(), 1).astype(accumulator(x.dtype))
    loss, *made = _cuda_passes(xp, x, weight, targets, ignore_index, needs_input_grad)

    # Gradients of the sum of the losses: half of those of the mean would be too small for float16 (see `precision`).
    def grads(g):
        nonlocal made
        given = made or _cuda_passes(xp, x, weight, targets, ignore_index, needs_input_grad)[1:]
        made = None
        for grad in given:
            if grad is not None:
                KERNELS.elementwise("scale", grad, grad, g / total)
        return *(None if grad is None else grad.astype(x.dtype, copy=False) for grad in given), None

    return loss / total, grads


def _cuda_passes(xp, x, weight, targets, ignore_index, needs_input_grad):
    """Sum of the losses (), its gradient by x (..., C) and by weight (V, C), None where not needed."""
    product, shape, n_classes = backend_of(x).bmm, x.shape, len(weight)
    x = x.reshape(len(targets), shape[-1])  # (N, C)
    width = -(-n_classes // 64) * 64  # tensor cores want rows of logits that begin at multiples of 128 bytes
    padded = xp.zeros((width, shape[-1]), dtype=weight.dtype)
    padded[:n_classes] = weight
    losses = xp.empty(len(x), dtype=accumulator(x.dtype))
    x_grad = xp.empty(x.shape, dtype=x.dtype) if needs_input_grad[0] else None
    weight_grad = xp.zeros(padded.shape, dtype=accumulator(x.dtype)) if needs_input_grad[1] else None  # a sum
    for rows in equal_slices(len(x), -(-len(x) * width // DEVICE_LOGITS)):
        z = product(x[rows], padded.T)  # (n, width)
        KERNELS.launch("softmax_minus_target", z, len(z), z, targets[rows], losses[rows], n_classes, width,
                       ignore_index)
        if x_grad is not None:
            x_grad[rows] = product(z, padded)
        if weight_grad is not None:
            weight_grad += product(z.T, x[rows])
        del z  # before the next ones are made
    return (losses.sum(), None if x_grad is None else x_grad.reshape(shape),
            None if weight_grad is None else weight_grad[:n_classes])


@op(samples=_linear_cross_entropy_samples,
    errors=lambda r: [((r.normal(2, 4), r.normal(5, 3), r.integers(5, 2)),
                       "x is (2, 4) but weight is (5, 3), expected (V, 4)"),
                      ((r.normal(2, 3), r.normal(5, 3), r.integers(5, 4)), "x is (2, 3) but targets are (4,)"),
                      ((r.normal(2, 3), r.normal(5, 3), r.integers(5, 2) + 5), "outside 0 … 4"),
                      ((r.normal(2, 3), r.normal(5, 3), r.normal(2)), "targets are float64, expected integers")],
    composed=_linear_cross_entropy_composed, cuda=_linear_cross_entropy_cuda)
def linear_cross_entropy(xp, x, weight, targets, *, ignore_index=-100, needs_input_grad=(True, True, False)):
    """Cross-entropy of the logits x Wᵀ, of which only some rows exist at a time.

    Forward:  y = −Σ_n s_n ln softmax(z_n)[t_n],  z = x Wᵀ,  s_n = 1 / number of rows that count, 0 where ignored
    Gradient: x̄ = z̅ W,  W̄ = z̅ᵀ x,  z̅_nv = ȳ s_n (softmax(z_n)_v − [v = t_n])
    Shapes:   x (..., C), weight (V, C), targets (...) integers -> y ()
    Saves:    x, weight, safe, share
    Source:   Wijmans et al. 2024, arXiv:2411.09009; Hsu et al. 2024, arXiv:2410.10989
    """
    _check(x, weight, targets, ignore_index)
    targets = targets.reshape(-1)
    counts, safe = row_weights(xp, targets, None, ignore_index, x.dtype)
    total = counts.sum()
    share = counts / (total + (total == 0))  # all ignored: 0 / 1
    y, *made = _both_passes(xp, x, weight, safe, share, needs_input_grad)

    # The logits are used up on the way forward, so the gradients are made there, for ȳ = 1.
    def grads(g):
        nonlocal made
        given = made or _both_passes(xp, x, weight, safe, share, needs_input_grad)[1:]
        made = None  # given away, so that the largest array of the model is there once; a second pass makes it anew
        for grad in given:
            if grad is not None:
                grad *= g
        return *given, None

    return y, grads


def _both_passes(xp, x, weight, targets, share, needs_input_grad):
    """Loss (), gradient of x (..., C) and of weight (V, C), None where not needed."""
    shape = x.shape
    x = x.reshape(len(targets), shape[-1])  # (N, C)
    losses = xp.empty(len(x), dtype=x.dtype)
    x_grad = xp.empty(x.shape, dtype=x.dtype) if needs_input_grad[0] else None
    weight_grad = xp.zeros(weight.shape, dtype=x.dtype) if needs_input_grad[1] and not len(x) else None
    for rows in equal_slices(len(x), -(-len(x) * len(weight) // LOGITS)):
        z = x[rows] @ weight.T  # (n, V)
        losses[rows] = _softmax_minus_target(xp, z, targets[rows], share[rows])
        if x_grad is not None:
            x_grad[rows] = z @ weight
        if needs_input_grad[1]:
            weight_grad = _plus_product(weight_grad, z, x[rows])
        del z  # before the next ones are made
    return losses.sum(), None if x_grad is None else x_grad.reshape(shape), weight_grad


def _plus_product(total, z, x):
    """zᵀ x (V, C), added to the total in place, if there is one: some rows at a time, without a second table."""
    if total is None:
        return z.T @ x
    for some in cached_slices(total, PRODUCT):
        total[some] += z[:, some].T @ x
    return total


def _softmax_minus_target(xp, z, targets, share):
    """Turn logits z (n, V) in place into their gradient, share · (softmax(z) − [v = target]); the losses (n)."""
    losses = xp.empty(len(z), dtype=z.dtype)
    for rows in cached_slices(z, CACHED):
        p, s = z[rows], share[rows]
        picked = xp.arange(len(p)), targets[rows]
        p -= p.max(axis=-1, keepdims=True)
        shifted = p[picked]
        xp.exp(p, out=p)
        sums = p.sum(axis=-1)
        losses[rows] = s * (xp.log(sums) - shifted)
        p *= (s / sums)[:, None]
        p[picked] -= s
    return losses
