"""Slices of arrays that are worked on one after the other."""

from tinygrad_gpt.backend.loading import backend_of
from tinygrad_gpt.backend.record import Array

__all__ = ["cached_slices", "equal_slices"]


def equal_slices(n: int, count: int) -> list[slice]:
    """Slices of about the same size, at most ``count`` of them, that cover 0 … n − 1."""
    step = max(1, -(-n // max(1, count)))
    return [slice(i, i + step) for i in range(0, n, step)]


def cached_slices(array: Array, elements: int) -> list[slice]:
    """Slices of the first axis with about ``elements`` elements each: all passes over one find it in a core's cache.

    On a device, where a call costs more than a pass, it is one slice.
    """
    return equal_slices(len(array), -(-array.size // elements) if backend_of(array).on_host else 1)
