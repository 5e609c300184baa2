"""The loss over a vocabulary: cuBLAS's products, and a kernel that turns logits into their gradient."""

import numpy as np

from tinygrad_gpt.backend import backend_of, equal_slices
from tinygrad_gpt.engine import cuda
from tinygrad_gpt.ops.cuda.launch import Kernels, accumulator

__all__ = ["DEVICE_LOGITS", "linear_cross_entropy"]

DEVICE_LOGITS = 1 << 27  # logits in memory at once
KERNELS = Kernels("linear_cross_entropy")


@cuda("linear_cross_entropy")
def linear_cross_entropy(xp, x, weight, targets, *, ignore_index=-100, needs_input_grad=(True, True, False)):
    """Op 'linear_cross_entropy'; the gradients are made on the way forward, as in the fast form."""
    targets = xp.ascontiguousarray(targets.reshape(-1).astype(np.int64, copy=False))
    losses, *made = _both_passes(xp, x, weight, targets, ignore_index, needs_input_grad)
    loss, share = (xp.empty((), dtype=losses.dtype) for _ in range(2))
    KERNELS.launch("mean_loss", x, 1, losses, targets, loss, share, ignore_index, len(targets))

    # Gradients of the sum of the losses: half of those of the mean would be too small for float16 (see `precision`).
    def grads(g):
        nonlocal made
        x_and_weight = made or _both_passes(xp, x, weight, targets, ignore_index, needs_input_grad)[1:]
        made = None
        for grad in x_and_weight:
            if grad is not None:
                KERNELS.elementwise("scale", grad, grad, g, share)
        return *(None if grad is None else grad.astype(x.dtype, copy=False) for grad in x_and_weight), None

    return loss, grads


def _both_passes(xp, x, weight, targets, ignore_index, needs_input_grad):
    """The losses (N), the gradient of their sum by x (..., C) and by weight (V, C), None where not needed."""
    product, shape, n_classes = backend_of(x).bmm, x.shape, len(weight)
    x = x.reshape(len(targets), shape[-1])  # (N, C)
    width = -(-n_classes // 64) * 64  # tensor cores want rows of logits that begin at multiples of 128 bytes
    losses = xp.empty(len(x), dtype=accumulator(x.dtype))
    x_grad = xp.empty(x.shape, dtype=x.dtype) if needs_input_grad[0] else None
    new = xp.empty if len(x) else xp.zeros
    weight_grad = new(weight.shape, dtype=accumulator(x.dtype)) if needs_input_grad[1] else None  # a sum
    for rows in equal_slices(len(x), -(-len(x) * width // DEVICE_LOGITS)):
        z = xp.empty((len(targets[rows]), width), dtype=x.dtype)
        logits = product(x[rows], weight.T, out=z[:, :n_classes])
        KERNELS.launch("softmax_minus_target", z, len(z), z, targets[rows], losses[rows], n_classes, width,
                       ignore_index)
        if x_grad is not None:
            product(logits, weight, out=x_grad[rows])
        if weight_grad is not None:
            product(logits.T, x[rows], out=weight_grad, add=rows.start > 0)
        del z, logits  # before the next ones are made
    return losses, None if x_grad is None else x_grad.reshape(shape), weight_grad
