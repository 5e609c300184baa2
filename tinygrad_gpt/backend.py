"""The one place that knows NumPy from CuPy.

An op receives ``xp``, the array package of its arguments, and is written once. What the two packages
spell differently is a field of `Backend`. A backend is found by the type of the arrays; CuPy is
imported only when somebody asks for it.
"""

import contextlib
import contextvars
import ctypes
import functools
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_gpt.errors import BackendError
from tinygrad_gpt.products import cublas_product, numpy_product

__all__ = [
    "Backend", "backend_of", "blocks", "cached_blocks", "default_backend", "get_backend", "is_integer", "on_backend",
    "out_of_memory", "register_backend", "use_backend",
]

KERNEL_HEADER = Path(__file__).with_name("kernels.cuh")  # what the CUDA kernels, in .cu files beside their ops, share
Array = Any  # numpy.ndarray or cupy.ndarray: whatever `Backend.array_type` says


def _numpy_free_memory():
    import psutil

    return psutil.virtual_memory().available


def _numpy_give_back():
    with contextlib.suppress(AttributeError, OSError, TypeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


@dataclass(frozen=True, eq=False)
class Backend:
    """An array package and the few things that it spells in its own way.

    Args:
        name: what the user types after ``--backend``.
        xp: the array package (``numpy``, ``cupy``).
        array_type: the class of its arrays.
        from_numpy, to_numpy: copies from and to the host, shape and dtype unchanged.
        index_add: ``index_add(target, index, values)`` is ``target[index] += values`` with repeated indices summed.
        bmm: matrix product of the last two axes, the others being batch, as the precision in force has it.
        erf: the error function, elementwise.
        synchronize: waits until the device has done its work.
        memory: peak bytes taken so far by the process, or by the device's pool.
        on_host: True if reading a value costs nothing; where it is False, checks that would
            have to wait for the device run in checking mode only.
        launch: runs a CUDA kernel, see `_cuda_launcher`; None where there is no CUDA.
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
    bmm: Callable[[Array, Array], Array]
    erf: Callable[[Array], Array]
    synchronize: Callable[[], None]
    memory: Callable[[], int]
    on_host: bool
    launch: Callable[..., None] | None = None
    deterministic: bool = True
    free_memory: Callable[[], int] = _numpy_free_memory
    give_back: Callable[[], None] = _numpy_give_back


def _numpy_index_add(target, index, values):
    if not (isinstance(index, np.ndarray) and index.ndim == 1 and index.dtype.kind in "iu"):
        np.add.at(target, index, values)
    elif index.size:
        # Rows with the same index become neighbours, so that one reduceat sums them: the order of
        # the sums is fixed, hence the result repeatable.
        order = np.argsort(index, kind="stable")
        rows = index[order]
        starts = np.flatnonzero(np.concatenate(([True], rows[1:] != rows[:-1])))
        target[rows[starts]] += np.add.reduceat(values[order], starts, axis=0)


def _numpy_erf(x):
    from scipy.special import erf

    return erf(x)


def _numpy_memory():
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
        mallopt(mmap_max, 0)  # take large arrays from the heap, too


def _numpy():
    _reuse_freed_memory()
    return Backend(
        name="numpy", xp=np, array_type=np.ndarray, from_numpy=np.asarray, to_numpy=np.asarray,
        index_add=_numpy_index_add, bmm=numpy_product, erf=_numpy_erf,
        synchronize=lambda: None, memory=_numpy_memory, on_host=True,
    )


def _cuda_launcher(cupy):
    @functools.cache
    def compiled(source, kernel):
        code = KERNEL_HEADER.read_text(encoding="utf-8") + source.read_text(encoding="utf-8")
        return cupy.RawModule(code=code, options=("-std=c++17",), name_expressions=(kernel,)).get_function(kernel)

    @functools.lru_cache(maxsize=64)
    def table(pointers):
        return cupy.asarray(np.array(pointers, np.uint64))

    def argument(arg):
        if isinstance(arg, list):
            return table(tuple(a.data.ptr for a in arg))
        return 0 if arg is None else arg

    def launch(source: Path, kernel: str, grid: tuple[int, ...], block: tuple[int, ...], args: tuple, shared: int = 0):
        """Run a kernel on arrays of this backend; it is compiled at its first call.

        Args:
            source: the .cu file; `KERNEL_HEADER` is put before it.
            kernel: its name with its types, such as "layer_norm<float>".
            grid, block: how many blocks, of how many threads.
            args: arrays (pointers in the kernel; one that is not C-ordered with its steps as ints), None (a null
                pointer), lists of arrays (tables of pointers), ints (long long) and floats (double).
            shared: bytes of dynamic shared memory of a block.
        """
        function = compiled(source, kernel)
        if shared > function.max_dynamic_shared_size_bytes:
            function.max_dynamic_shared_size_bytes = shared
        function(grid, block, tuple(argument(arg) for arg in args), shared_mem=shared)

    return launch


def _cupy():
    try:
        cupy = importlib.import_module("cupy")
        special = importlib.import_module("cupyx.scipy.special")
        _try_out(cupy)
        cublas = cupy.cuda.cublas  # this way CuPy finds the library in NVIDIA's wheel, too
    except Exception as error:  # a broken CUDA set-up raises anything, from ImportError to AttributeError
        raise BackendError(f"backend 'cupy': {_what_is_missing(error)}, or use --backend numpy") from error
    pool = cupy.get_default_memory_pool()
    return Backend(
        name="cupy", xp=cupy, array_type=cupy.ndarray, from_numpy=cupy.asarray, to_numpy=cupy.asnumpy,
        index_add=cupy.add.at, bmm=cublas_product(cupy, cublas), erf=special.erf,
        synchronize=lambda: cupy.cuda.get_current_stream().synchronize(), memory=pool.total_bytes, on_host=False,
        launch=_cuda_launcher(cupy), deterministic=os.environ.get("TINYGRAD_GPT_DETERMINISTIC") != "0",
        give_back=pool.free_all_blocks,
        free_memory=lambda: cupy.cuda.runtime.memGetInfo()[0] + pool.free_bytes(),
    )


def _try_out(cupy):
    """Use all that a training step needs: a GPU, memory, the compiler of kernels with its headers, cuBLAS."""
    if not cupy.cuda.runtime.getDeviceCount():
        raise RuntimeError("cudaErrorNoDevice")
    x = cupy.ones((2, 2), cupy.float32)
    if float((x @ x).sum()) != 8:
        raise RuntimeError("the GPU computes 2 x 2 ones times themselves wrongly")


def _what_is_missing(error):
    """Why CuPy cannot be used, and what to do about it."""
    text = str(error).partition("Original error:")[2] or str(error)  # CuPy puts a page of advice before its cause
    said = next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")[:200]
    extras = "pip install 'tinygrad-gpt[cuda12]', or [cuda13], whichever CUDA nvidia-smi shows"
    if isinstance(error, ModuleNotFoundError) and error.name == "cupy":
        return f"CuPy is not installed; {extras}"
    if "cudaErrorInsufficientDriver" in said:
        return (f"there is no NVIDIA driver, or it is too old for this CuPy; install one and look at nvidia-smi, or "
                f"{extras}")
    if "cudaErrorNoDevice" in said:
        return "no NVIDIA GPU is found; look at nvidia-smi and CUDA_VISIBLE_DEVICES"
    if out_of_memory(error) is not None:
        return (f"the GPU has no memory left at the start ({said}); end the programs that nvidia-smi shows, or choose "
                "another GPU with CUDA_VISIBLE_DEVICES")
    return f"{type(error).__name__}: {said}; {extras}"


def out_of_memory(error: BaseException) -> str | None:
    """What an error says about memory that ran out, on the host or on a device; None if it is about something else."""
    said = str(error)
    sizes = re.match(r"Out of memory allocating ([\d,]+) bytes \(allocated so far: ([\d,]+) bytes", said)
    if sizes:  # CuPy's pool
        asked, taken = (int(size.replace(",", "")) / 1e9 for size in sizes.groups())
        return f"{asked:.2f} GB were asked for on the GPU, where arrays take {taken:.2f} GB already"
    if isinstance(error, MemoryError):
        return said or "an allocation failed"
    if re.search("cudaErrorMemoryAllocation|CUDA_ERROR_OUT_OF_MEMORY|CUBLAS_STATUS_ALLOC_FAILED", said):
        return f"the GPU has no more ({said})"
    return None


_loaders: dict[str, Callable[[], Backend]] = {"numpy": _numpy, "cupy": _cupy}
_loaded: dict[str, Backend] = {}
_by_type: dict[type, Backend] = {}


def register_backend(name: str, loader: Callable[[], Backend]) -> None:
    """Make ``get_backend(name)`` call ``loader`` the first time it is asked for."""
    _loaders[name] = loader


def get_backend(name: str) -> Backend:
    """The backend of that name, ``auto`` being CuPy where it works and NumPy elsewhere.

    Raises:
        BackendError: the name is unknown, or its package or device is absent.
    """
    if name == "auto":
        try:
            return get_backend("cupy")
        except BackendError:
            return get_backend("numpy")
    if name not in _loaded:
        if name not in _loaders:
            raise BackendError(f"backend {name!r}: unknown; choose one of {', '.join(['auto', *_loaders])}")
        backend = _loaders[name]()
        _loaded[name] = _by_type[backend.array_type] = backend
    return _loaded[name]


def backend_of(array: Array) -> Backend:
    """The backend whose arrays ``array`` is one of.

    Raises:
        BackendError: no loaded backend knows this type.
    """
    backend = _by_type.get(type(array))
    if backend is None:
        if isinstance(array, np.generic):  # what NumPy's arithmetic makes of 0-d arrays
            return get_backend("numpy")
        backend = next((known for known in _loaded.values() if isinstance(array, known.array_type)), None)
        if backend is None:
            raise BackendError(f"{type(array).__name__}: not an array of a loaded backend ({', '.join(_loaded)}); "
                               "wrap it in a Tensor")
        _by_type[type(array)] = backend
    return backend


_NUMPY = get_backend("numpy")
_default = contextvars.ContextVar("default_backend", default=_NUMPY)


def default_backend() -> Backend:
    """The backend on which Tensors are made from lists and NumPy arrays."""
    return _default.get()


def use_backend(name: str) -> Backend:
    """Make ``name`` the default backend of this thread and return it."""
    backend = get_backend(name)
    _default.set(backend)
    return backend


@contextlib.contextmanager
def on_backend(name: str | None) -> Iterator[Backend]:
    """Make ``name`` the default backend of this thread while the block lasts; None leaves it as it is."""
    token = _default.set(default_backend() if name is None else get_backend(name))
    try:
        yield default_backend()
    finally:
        _default.reset(token)


def blocks(n: int, count: int) -> list[slice]:
    """Slices of like size, at most ``count`` of them, that cover 0 … n − 1."""
    step = max(1, -(-n // max(1, count)))
    return [slice(i, i + step) for i in range(0, n, step)]


def cached_blocks(array: Array, elements: int) -> list[slice]:
    """Slices of the first axis with about so many elements each: all passes over one find it in a core's cache.

    On a device, where a call costs more than a pass, it is one slice.
    """
    return blocks(len(array), -(-array.size // elements) if backend_of(array).on_host else 1)


def is_integer(dtype) -> bool:
    """True for bool and integers. (bfloat16 has kind 'V', so "not integer" is the safe test for a float.)"""
    return dtype.kind in "biu"
