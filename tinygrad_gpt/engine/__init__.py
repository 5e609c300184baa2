"""The engine: a tape of what a forward pass computes, the backward pass, Tensor, and the registry of ops."""

from tinygrad_gpt.engine.registry import OPS, Op, op, values_are_checked
from tinygrad_gpt.engine.tape import checking, composed_ops, no_grad
from tinygrad_gpt.engine.tensor import Tensor, raw

__all__ = ["OPS", "Op", "Tensor", "checking", "composed_ops", "no_grad", "op", "raw", "values_are_checked"]
