"""The seam between NumPy and CuPy.

An op receives ``xp``, the functions of the array package of its arguments, and is written once. What the two packages
spell differently is a field of `Backend`. A backend is found by the type of the arrays; CuPy is imported only when it
is asked for.
"""

from tinygrad_gpt.backend.loading import (
    backend_of,
    backend_of_type,
    default_backend,
    get_backend,
    on_backend,
    register_backend,
    to_host,
    use_backend,
)
from tinygrad_gpt.backend.memory import out_of_memory
from tinygrad_gpt.backend.record import Array, Backend, is_integer
from tinygrad_gpt.backend.slices import cached_slices, equal_slices

__all__ = [
    "Array", "Backend", "backend_of", "backend_of_type", "cached_slices", "default_backend", "equal_slices",
    "get_backend", "is_integer", "on_backend", "out_of_memory", "register_backend", "to_host",
    "use_backend",
]
