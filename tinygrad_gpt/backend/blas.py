"""What OpenBLAS, NumPy's matrix products, says of itself, and independent work on as many threads as it has."""

import contextlib
import contextvars
import ctypes
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["OpenBLAS", "in_threads", "openblas"]


@dataclass(frozen=True)
class OpenBLAS:
    """The library in use.

    Args:
        core: name of the kernels that it has chosen for this processor.
        threads: returns on how many threads it computes a product.
        set_threads: sets that number, for the whole process.
    """

    core: str
    threads: Callable[[], int]
    set_threads: Callable[[int], None]


@functools.cache
def openblas() -> OpenBLAS | None:
    """The OpenBLAS that NumPy uses; None where it uses another library."""
    for prefix, suffix in (("scipy_", "64_"), ("", "64_"), ("", "")):  # of NumPy's wheels, and of other packages
        with contextlib.suppress(AttributeError, OSError):
            library = ctypes.CDLL(np._core._multiarray_umath.__file__)  # type: ignore[attr-defined]
            name, threads, set_threads = (
                getattr(library, f"{prefix}openblas_{what}{suffix}")
                for what in ("get_corename", "get_num_threads", "set_num_threads"))
            name.restype = ctypes.c_char_p
            return OpenBLAS(name().decode(), threads, set_threads)
    return None


def in_threads(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """``[function(item) for item in items]``, several at a time, each with matrix products on one thread.

    There are as many threads as OpenBLAS had. With one of them, one item, or another library, the items come one after
    another, with the products as they are. The switches in force here are in force in the threads. For large items
    that have nothing in common: where they are small, the threads wait for Python's lock.
    """
    blas = openblas()
    before = 1 if blas is None else blas.threads()
    if blas is None or min(before, len(items)) < 2:
        return [function(item) for item in items]
    from concurrent.futures import ThreadPoolExecutor

    blas.set_threads(1)
    pool = ThreadPoolExecutor(min(before, len(items)))
    try:
        futures = [pool.submit(contextvars.copy_context().run, function, item) for item in items]
        return [future.result() for future in futures]
    finally:
        pool.shutdown(cancel_futures=True)
        blas.set_threads(before)
