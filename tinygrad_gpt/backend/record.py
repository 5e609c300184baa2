"""What an array package is to this project: a record of the few things that packages spell differently."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tinygrad_gpt.backend.cards import Card
from tinygrad_gpt.backend.precision import wide

__all__ = ["Array", "Backend", "Namespace", "is_integer"]

Array = Any  # numpy.ndarray or cupy.ndarray: whatever `Backend.array_type` says


class Namespace:
    """The functions of an array package, and those that the packages spell differently, under one name each.

    This is the ``xp`` of an op's body: ``xp.exp`` is the package's own, ``xp.erf`` and ``xp.scatter`` are those of the
    record.
    """

    def __init__(self, package: Any, **own: Callable):
        self.package = package
        vars(self).update(own)

    def __getattr__(self, name):
        value = vars(self)[name] = getattr(vars(self)["package"], name)
        return value


@dataclass(frozen=True, eq=False)
class Backend:
    """An array package and the few things that it spells in its own way.

    Args:
        name: what the user types after ``--backend``.
        xp: the array package (``numpy``, ``cupy``).
        array_type: the class of its arrays.
        from_numpy, to_numpy: copies from and to the host, shape and dtype unchanged.
        index_add: ``index_add(target, index, values)`` is ``target[index] += values`` with repeated indices summed.
        bmm: matrix product of the last two axes, the others being batch, as the precision in force has it; with CUDA
            also into an array, see `backend/cublas.py`.
        erf: the error function, elementwise.
        synchronize: waits until the device has done its work.
        memory: peak bytes taken so far by the process, or by the device's pool.
        on_host: True if reading a value costs nothing; where it is False, checks that would
            have to wait for the device run in checking mode only.
        launch: runs a CUDA kernel, see `backend/cupy.py`; None where there is no CUDA.
        card: what the GPU in use can do; None without a GPU.
        deterministic: False lets kernels add numbers in an order left to chance where that is faster; on CuPy with the
            environment variable TINYGRAD_GPT_DETERMINISTIC=0.
        free_memory: bytes that arrays can still take.
        give_back: returns the memory of freed arrays, which is kept for the next ones, to the system or the device.
    """

    name: str
    xp: Any
    array_type: type
    from_numpy: Callable[[np.ndarray], Array]
    to_numpy: Callable[[Array], np.ndarray]
    index_add: Callable[[Array, Any, Array], None]
    bmm: Callable[..., Array]
    erf: Callable[[Array], Array]
    synchronize: Callable[[], None]
    memory: Callable[[], int]
    on_host: bool
    launch: Callable[..., None] | None = None
    card: Callable[[], Card | None] = lambda: None
    deterministic: bool = True
    free_memory: Callable[[], int] = lambda: 2**63 - 1
    give_back: Callable[[], None] = lambda: None

    @cached_property
    def namespace(self) -> Namespace:
        """The functions that an op's body gets as ``xp``."""
        return Namespace(self.xp, erf=self.erf, scatter=self._scatter)

    def _scatter(self, values, index, shape):
        """Zeros of ``shape`` to which ``values`` are added at ``index``; an element met twice gets both."""
        total = self.xp.zeros(shape, dtype=wide(values.dtype))
        self.index_add(total, index, values.astype(total.dtype, copy=False))
        return total.astype(values.dtype, copy=False)


def is_integer(dtype) -> bool:
    """True for bool and integers. (bfloat16 has kind 'V', so "not integer" is the safe test for a float.)"""
    return dtype.kind in "biu"
