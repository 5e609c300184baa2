"""What a GPU would be given to do: strict arrays, and kernels that are counted and not run (backend "counted").

Memory of `empty` holds zeros, so that a step whose kernels do nothing is a step.
"""

import dataclasses
import functools
import importlib.util
from dataclasses import dataclass

import fake_cublas
import strict

from tinygrad_gpt.backend import get_backend, register_backend

kernels: list[str] = []  # those launched, by name


@dataclass(frozen=True)
class Work:
    """Launches (kernels, products, copies and fills), arrays for which memory is taken, and waits of the host."""

    launches: int
    allocations: int
    waits: int

    def __sub__(self, other):
        return Work(self.launches - other.launches, self.allocations - other.allocations, self.waits - other.waits)


def total() -> Work:
    """Of all times."""
    return Work(len(kernels) + fake_cublas.made + arrays.launches, arrays.allocations, arrays.synchronisations)


def work(function) -> Work:
    """What one call of the function takes."""
    before = total()
    function()
    return total() - before


@functools.lru_cache(maxsize=64)  # as in `backend/cupy.py`
def _table(pointers):
    arrays.allocations += 1
    arrays.launches += 1  # the copy from the host


def _launch(source, kernel, grid, block, args, shared=0):
    kernels.append(kernel)
    for arg in args:
        if isinstance(arg, list):
            _table(tuple(a.data.ptr for a in arg))


def _strict_copy():
    """The module of the strict arrays once more, as in `cuda_on_cpu.py`."""
    spec = importlib.util.spec_from_file_location("counted_arrays", strict.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    register_backend("strict", strict.load)
    module.unset = 0
    return module


arrays = _strict_copy()
register_backend("counted", lambda: dataclasses.replace(arrays.load(), name="counted", launch=_launch))
get_backend("counted")
