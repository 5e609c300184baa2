"""Linear in PyTorch's layout."""

import math

import numpy as np

from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.nn import functional, init
from tinygrad_gpt.nn.module import Module, Parameter
from tinygrad_gpt.nn.parameter import floating

__all__ = ["Linear"]


class Linear(Module):
    """``x Wᵀ + b`` with ``weight`` (out_features, in_features) and ``bias`` (out_features) or None.

    The initial values are PyTorch's, uniform between ±1/√in_features, from the default generator. The layers of GPT-2
    are `Conv1D`, which keeps its weight the other way round.

    Args:
        in_features, out_features: sizes of the last axis before and after.
        bias: whether there is a bias.
        device, dtype: where the parameters are and what they hold; drawn in float32, then converted.

    Source: torch.nn.Linear.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, device=None, dtype=None):
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(np.empty((out_features, in_features), np.float32))
        self.bias = Parameter(np.empty(out_features, np.float32)) if bias else None
        self.reset_parameters()
        self.to(device=device, dtype=floating(dtype))

    def reset_parameters(self) -> None:
        """Draw new initial values from the default generator, weight first."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features) if self.in_features else 0.0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)"""
        return functional.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
