"""Activations from exp, tanh and arithmetic."""

from tinygrad_gpt.engine import composed
from tinygrad_gpt.ops.activation import CUBIC, SQRT_2_OVER_PI
from tinygrad_gpt.ops.elementwise import exp, tanh, where

__all__ = ["bias_gelu", "gelu", "sigmoid"]


@composed("sigmoid")
def sigmoid(x):
    negative = x.data < 0
    e = exp(where(negative, x, -x))  # at most 1
    return where(negative, e, 1.0) / (e + 1.0)


@composed("gelu")
def gelu(x):
    inner = (x + x * x * x * CUBIC) * SQRT_2_OVER_PI
    return x * 0.5 * (tanh(inner) + 1.0)


@composed("bias_gelu")
def bias_gelu(x, bias):
    return gelu(x + bias)
