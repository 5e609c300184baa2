"""CuPy as a backend: arrays on an NVIDIA GPU, CUDA kernels, and why either cannot be used."""

import functools
import importlib
import os
from pathlib import Path

import numpy as np

from tinygrad_gpt.backend.cublas import cublas_product
from tinygrad_gpt.backend.memory import out_of_memory
from tinygrad_gpt.backend.record import Backend
from tinygrad_gpt.errors import BackendError

__all__ = ["KERNEL_HEADER", "load"]

KERNEL_HEADER = Path(__file__).parents[1] / "ops" / "cuda" / "kernels.cuh"  # put before every .cu file


def load() -> Backend:
    """The record of CuPy.

    Raises:
        BackendError: "backend 'cupy': CuPy is not installed; …", or whatever else is missing.
    """
    try:
        cupy = importlib.import_module("cupy")
        special = importlib.import_module("cupyx.scipy.special")
        _try_out(cupy)
        cublas = cupy.cuda.cublas  # this way CuPy also finds the library in NVIDIA's wheel
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
