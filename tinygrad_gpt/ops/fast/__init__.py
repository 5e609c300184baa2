"""Tuned forms of ops on the host, one file for each file of `ops/`: in place, in tiles that fit a core's cache.

Each has the signature and the result of the op's plain function, which says what it computes.
"""

import tinygrad_gpt.ops.fast.activation
import tinygrad_gpt.ops.fast.attention
import tinygrad_gpt.ops.fast.dropout
import tinygrad_gpt.ops.fast.embedding
import tinygrad_gpt.ops.fast.linear_cross_entropy
import tinygrad_gpt.ops.fast.matmul
import tinygrad_gpt.ops.fast.normalize
import tinygrad_gpt.ops.fast.shape
import tinygrad_gpt.ops.fast.softmax  # noqa: F401
