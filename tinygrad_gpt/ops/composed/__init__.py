"""Fused ops as the simpler ops that they are made of, one file for each file of `ops/`.

Each is a function on Tensors with the signature of the op, and leaves every step on the tape.
"""

import tinygrad_gpt.ops.composed.activation
import tinygrad_gpt.ops.composed.attention
import tinygrad_gpt.ops.composed.dropout
import tinygrad_gpt.ops.composed.embedding
import tinygrad_gpt.ops.composed.linear_cross_entropy
import tinygrad_gpt.ops.composed.matmul
import tinygrad_gpt.ops.composed.normalize
import tinygrad_gpt.ops.composed.reduce
import tinygrad_gpt.ops.composed.softmax  # noqa: F401
