"""NumPy as a backend: arrays on the host."""

import contextlib
import ctypes
import sys

import numpy as np

from tinygrad_gpt.backend.few_rows import FEW, TINY, few_rows
from tinygrad_gpt.backend.precision import current_precision, is_half
from tinygrad_gpt.backend.record import Backend
from tinygrad_gpt.errors import DTypeError, ShapeError

__all__ = ["host_array", "load", "numpy_product", "tf32"]


def load() -> Backend:
    """The record of NumPy."""
    _reuse_freed_memory()
    return Backend(
        name="numpy", xp=np, array_type=np.ndarray, from_numpy=np.asarray, to_numpy=np.asarray,
        index_add=_index_add, bmm=numpy_product, erf=_erf, synchronize=lambda: None, memory=_peak_memory, on_host=True,
        free_memory=_free_memory, give_back=_give_back,
    )


def host_array(data, dtype=np.float32) -> np.ndarray:
    """``data`` as a NumPy array of numbers: Python floats make float32, as in PyTorch, or another dtype."""
    try:
        array = np.asarray(data)
    except (ValueError, TypeError) as error:
        raise ShapeError(f"Tensor: {error}") from error
    if array.dtype == np.float64 and not hasattr(data, "dtype"):
        array = array.astype(dtype)
    if array.dtype.kind not in "biufcV":
        raise DTypeError(f"Tensor: cannot hold {array.dtype} ({type(data).__name__}); give numbers")
    return array


def numpy_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(..., n, k) times (..., k, m): (..., n, m), the other axes broadcast."""
    if is_half(a.dtype):
        return np.matmul(a.astype(np.float32), b.astype(np.float32)).astype(a.dtype)
    if current_precision().tf32 and a.dtype == np.float32:
        a, b = tf32(a), tf32(b)
    if a.ndim == b.ndim == 2 and 1 < len(a) <= FEW and b.size > TINY and a.dtype == b.dtype == np.float32:
        return few_rows(a, b)
    return np.matmul(a, b)


def tf32(a: np.ndarray) -> np.ndarray:
    """float32 values rounded to the 10 bits of mantissa of TF32, halves away from 0, as ``cvt.rna.tf32`` does."""
    bits = np.ascontiguousarray(a).view(np.uint32)
    return ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)


def _index_add(target, index, values):
    if not (isinstance(index, np.ndarray) and index.ndim == 1 and index.dtype.kind in "iu"):
        np.add.at(target, index, values)
    elif index.size:
        # Rows with the same index become neighbours, so that one reduceat sums them: the order of
        # the sums is fixed, hence the result repeatable.
        order = np.argsort(index, kind="stable")
        rows = index[order]
        starts = np.flatnonzero(np.concatenate(([True], rows[1:] != rows[:-1])))
        target[rows[starts]] += np.add.reduceat(values[order], starts, axis=0)


def _erf(x):
    from scipy.special import erf

    return erf(x)


def _peak_memory():
    if sys.platform == "linux":  # where ru_maxrss begins with the peak of the process that started this one
        with open("/proc/self/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _reuse_freed_memory():
    """Have glibc keep the memory of freed arrays, so that a training step works on pages that it already has.

    Left alone, it returns large arrays to the system at once, which then maps and clears every page anew:
    more than half the time of a step of the 124M model (docs/decisions/0006-freed-memory.md).
    """
    trim_threshold, mmap_max = -1, -4  # names of the settings in malloc.h
    with contextlib.suppress(AttributeError, OSError, TypeError):  # not glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(trim_threshold, -1)  # never give back the end of the heap
        mallopt(mmap_max, 0)  # take large arrays from the heap as well



def _free_memory():
    import psutil

    return psutil.virtual_memory().available


def _give_back():
    with contextlib.suppress(AttributeError, OSError, TypeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
