"""Activations and other functions as modules, to be used in a Sequential."""

from typing import Any

from tinygrad_gpt import ops
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.nn import functional
from tinygrad_gpt.nn.module import Module

__all__ = ["GELU", "Flatten", "Identity", "LogSoftmax", "ReLU", "SiLU", "Sigmoid", "Softmax", "Tanh"]


class Identity(Module):
    """What it is given; all arguments of the constructor are ignored."""

    def __init__(self, *args: Any, **settings: Any):
        pass

    def forward(self, x: Tensor) -> Tensor:
        """(...) -> (...)"""
        return x


class ReLU(Module):
    """``max(x, 0)``; ``inplace`` changes nothing."""

    def __init__(self, inplace: bool = False):
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """(...) -> (...)"""
        return ops.relu(x)

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class GELU(Module):
    """Gaussian error linear unit; ``approximate`` is "none" or, as in GPT-2, "tanh"."""

    def __init__(self, approximate: str = "none"):
        if approximate not in ("none", "tanh"):
            raise UsageError(f"GELU: approximate is {approximate!r}; choose none or tanh")
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        """(...) -> (...)"""
        return functional.gelu(x, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Tanh(Module):
    """Hyperbolic tangent."""

    def forward(self, x: Tensor) -> Tensor:
        """(...) -> (...)"""
        return ops.tanh(x)


class Sigmoid(Module):
    """``1 / (1 + e⁻ˣ)``."""

    def forward(self, x: Tensor) -> Tensor:
        """(...) -> (...)"""
        return ops.sigmoid(x)


class SiLU(Module):
    """``x σ(x)``; ``inplace`` changes nothing."""

    def __init__(self, inplace: bool = False):
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """(...) -> (...)"""
        return functional.silu(x)

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class Softmax(Module):
    """Softmax along the axis ``dim``."""

    def __init__(self, dim: int):
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """(...) -> (...)"""
        return ops.softmax(x, axis=self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Softmax):
    """Logarithm of the softmax along the axis ``dim``."""

    def forward(self, x: Tensor) -> Tensor:
        """(...) -> (...)"""
        return ops.log_softmax(x, axis=self.dim)


class Flatten(Module):
    """The axes from ``start_dim`` to ``end_dim`` as one."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) -> (N, product of the others)"""
        return functional.flatten(x, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
