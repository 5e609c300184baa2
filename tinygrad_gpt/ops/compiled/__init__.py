"""Forms of some ops whose loops numba compiles, one file for each file of `ops/fast/`: the extra `compiled`.

They run with `--ops compiled` or `using_ops("compiled")`, which import this package; other ops run in their fast form.
"""

import tinygrad_gpt.ops.compiled.activation
import tinygrad_gpt.ops.compiled.attention
import tinygrad_gpt.ops.compiled.dropout
import tinygrad_gpt.ops.compiled.linear_cross_entropy
import tinygrad_gpt.ops.compiled.normalize  # noqa: F401
