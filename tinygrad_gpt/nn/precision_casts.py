"""The seams of mixed precision: where an array goes from float32 to the dtype that layers compute in, and back.

Both are the op `astype`, whose gradient is cast the other way; in float32 and TF32 neither does anything.
"""

from typing import overload

import numpy as np

from tinygrad_gpt.backend.precision import current_precision, is_half
from tinygrad_gpt.engine.mode import current_mode
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.nn.parameter import Parameter
from tinygrad_gpt.ops.cuda.lowered import lowered
from tinygrad_gpt.ops.cuda.many_arrays import one_launch

__all__ = ["to_compute", "to_float32"]


@overload
def to_compute(x: Tensor) -> Tensor: ...
@overload
def to_compute(x: None) -> None: ...


def to_compute(x: Tensor | None) -> Tensor | None:
    """A float32 tensor in the dtype of the policy in force, for a layer to compute with; any other as it is."""
    if x is None or not is_half(dtype := current_precision().dtype) or x.dtype != np.float32:
        return x
    if isinstance(x, Parameter) and not current_mode().recording and one_launch([x.data]):
        return Tensor(lowered([x], dtype)[0])  # made once, until it changes
    return x.astype(dtype)


def to_float32(x: Tensor) -> Tensor:
    """What a layer computed in half precision, in float32: for the residual stream, scores and losses."""
    return x.astype(np.float32) if is_half(x.dtype) else x
