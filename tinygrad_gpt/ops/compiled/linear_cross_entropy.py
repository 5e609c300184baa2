"""The loss over a vocabulary, whose softmax is one pass over each row of logits."""

from tinygrad_gpt.engine import compiled
from tinygrad_gpt.ops.compiled import kernels
from tinygrad_gpt.ops.fast.linear_cross_entropy import loss_in_parts

__all__ = ["linear_cross_entropy"]


@compiled("linear_cross_entropy")
def linear_cross_entropy(xp, x, weight, targets, *, ignore_index=-100, needs_input_grad=(True, True, False)):
    """Op 'linear_cross_entropy'; the gradients are made on the way forward, for ȳ = 1: the logits are overwritten."""
    return loss_in_parts(xp, (x, weight, targets), ignore_index, needs_input_grad, _softmax_minus_target)


def _softmax_minus_target(xp, z, targets, share):
    losses = xp.empty(len(z), dtype=z.dtype)
    kernels.softmax_minus_target(z, targets, share, losses)
    return losses
