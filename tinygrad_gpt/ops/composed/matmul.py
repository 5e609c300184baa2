"""The linear layer from a product and a sum."""

from tinygrad_gpt.engine import composed
from tinygrad_gpt.ops.matmul import matmul

__all__ = ["linear"]


@composed("linear")
def linear(x, weight, bias=None):
    y = matmul(x, weight)
    return y if bias is None else y + bias
