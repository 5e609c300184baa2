"""Parameter: a tensor that a module owns and an optimiser changes."""

import numpy as np

from tinygrad_gpt.backend import default_backend
from tinygrad_gpt.engine.pytorch.dtypes import as_dtype
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import DTypeError

__all__ = ["Parameter", "floating"]


class Parameter(Tensor):
    """A leaf Tensor that a Module owns; made from a NumPy array, it goes to the default backend.

    Args:
        data: as in `Tensor`; a Tensor shares its memory.
        requires_grad: whether it is trained.
    """

    __slots__ = ()

    def __init__(self, data, requires_grad: bool = True):
        if isinstance(data, np.ndarray):
            data = default_backend().from_numpy(data)
        super().__init__(data, requires_grad=requires_grad)

    def __repr__(self):
        return f"Parameter containing:\n{super().__repr__()}"


def floating(dtype):
    """A dtype that parameters can have, or None.

    Raises:
        DTypeError: "parameters cannot be int64; give float16, float32 or float64".
    """
    if dtype is not None and as_dtype(dtype, "Parameter").kind in "biuc":
        raise DTypeError(f"parameters cannot be {dtype}; give float16, float32 or float64")
    return dtype
