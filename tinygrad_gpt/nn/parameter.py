"""Parameter: a tensor that a module owns and an optimiser changes."""

import numpy as np

from tinygrad_gpt.backend import default_backend
from tinygrad_gpt.engine.tensor import Tensor

__all__ = ["Parameter"]


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
