"""Forms of ops that launch CUDA kernels: one file and one .cu file for each file of `ops/` that has some.

Each has the signature and the result of the op's plain function, which says what it computes. `launch.py` launches,
`kernels.cuh` is put before every .cu file.
"""

import tinygrad_gpt.ops.cuda.activation
import tinygrad_gpt.ops.cuda.attention
import tinygrad_gpt.ops.cuda.dropout
import tinygrad_gpt.ops.cuda.embedding
import tinygrad_gpt.ops.cuda.linear_cross_entropy
import tinygrad_gpt.ops.cuda.matmul
import tinygrad_gpt.ops.cuda.normalize
import tinygrad_gpt.ops.cuda.softmax  # noqa: F401
