"""The loss over a vocabulary from a linear layer and the cross-entropy."""

from tinygrad_gpt.engine import composed
from tinygrad_gpt.ops.matmul import linear
from tinygrad_gpt.ops.softmax import cross_entropy

__all__ = ["linear_cross_entropy"]


@composed("linear_cross_entropy")
def linear_cross_entropy(x, weight, targets, *, ignore_index=-100):
    return cross_entropy(linear(x, weight.T), targets, ignore_index=ignore_index)
