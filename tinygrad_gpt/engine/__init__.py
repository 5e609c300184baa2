"""The engine: a tape of what a forward pass computes, the backward pass, Tensor, and the registry of ops."""

from tinygrad_gpt.engine.forms import compiled, composed, cuda, fast
from tinygrad_gpt.engine.mode import checking, composed_ops, no_grad, using_ops
from tinygrad_gpt.engine.operators import raw
from tinygrad_gpt.engine.registry import OPS, Op, op, values_are_checked
from tinygrad_gpt.engine.tensor import Tensor

__all__ = ["OPS", "Op", "Tensor", "checking", "compiled", "composed", "composed_ops", "cuda", "fast", "no_grad", "op",
           "raw", "using_ops", "values_are_checked"]
