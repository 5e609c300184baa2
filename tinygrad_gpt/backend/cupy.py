"""CuPy as a backend: arrays on an NVIDIA GPU, CUDA kernels, and why either cannot be used."""

import functools
import importlib
import os
import re
from importlib import metadata
from pathlib import Path

import numpy as np

from tinygrad_gpt.backend.cards import card_of
from tinygrad_gpt.backend.cublas import cublas_product
from tinygrad_gpt.backend.index_add import ordered_index_add
from tinygrad_gpt.backend.memory import out_of_memory
from tinygrad_gpt.backend.record import Backend
from tinygrad_gpt.errors import BackendError

__all__ = ["kernel_text", "load"]

KERNEL_HEADER = Path(__file__).parents[1] / "ops" / "cuda" / "kernels.cuh"
PACKAGES = ("cupy", "cupy-cuda11x", "cupy-cuda12x", "cupy-cuda13x")  # each installs the folder cupy/
LINE = 240 - len("error: backend 'cupy': ")  # characters of a message
EXTRAS = "pip install 'tinygrad-gpt[cuda12]', or [cuda13], whichever CUDA nvidia-smi shows"


def load() -> Backend:
    """The record of CuPy.

    Raises:
        BackendError: "backend 'cupy': CuPy is not installed; …", or whatever else is missing.
    """
    _check_packages()
    try:
        cupy = importlib.import_module("cupy")
        special = importlib.import_module("cupyx.scipy.special")
        _check_version(cupy.__version__)
        _try_out(cupy)
        cublas = cupy.cuda.cublas  # this way CuPy also finds the library in NVIDIA's wheel
    except BackendError:
        raise
    except Exception as error:  # a broken CUDA set-up raises anything, from ImportError to AttributeError
        raise _unusable(*_what_is_missing(error)) from error
    pool, launch = cupy.get_default_memory_pool(), _cuda_launcher(cupy)
    deterministic = os.environ.get("TINYGRAD_GPT_DETERMINISTIC") != "0"
    return Backend(
        name="cupy", xp=cupy, array_type=cupy.ndarray, from_numpy=cupy.asarray, to_numpy=cupy.asnumpy,
        index_add=ordered_index_add(cupy, launch) if deterministic else cupy.add.at,
        bmm=cublas_product(cupy, cublas), erf=special.erf,
        synchronize=lambda: cupy.cuda.get_current_stream().synchronize(), memory=pool.total_bytes, on_host=False,
        launch=launch, card=lambda: card_of(int(cupy.cuda.Device().compute_capability)), deterministic=deterministic,
        give_back=pool.free_all_blocks,
        free_memory=lambda: cupy.cuda.runtime.memGetInfo()[0] + pool.free_bytes(),
    )


def _try_out(cupy):
    """Use all that a training step needs: a GPU, memory, the compiler of kernels with its headers, cuBLAS."""
    if not cupy.cuda.runtime.getDeviceCount():
        raise RuntimeError("cudaErrorNoDevice")
    capability = int(cupy.cuda.Device().compute_capability)
    if card_of(capability) is None:
        raise _unusable(f"the GPU has compute capability {capability / 10}", "7.0 (V100) or newer is needed")
    x = cupy.ones((2, 2), cupy.float32)
    if float((x @ x).sum()) != 8:
        raise RuntimeError("the GPU computes 2 x 2 ones times themselves wrongly")


def _check_packages():
    """Refuse two packages of CuPy in one environment."""
    found = [name for name in PACKAGES if _is_installed(name)]
    if len(found) > 1:
        raise _unusable(f"CuPy is installed {len(found)} times, and each overwrites the other ({', '.join(found)})",
                        f"pip uninstall {' '.join(found)}, then install one of them")


def _is_installed(package):
    try:
        return metadata.distribution(package) is not None
    except metadata.PackageNotFoundError:
        return False


def _check_version(version):
    """Refuse a CuPy that compiles the kernels anew in every process: before 14.2 it did not read its cache."""
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < (14, 2):
        raise _unusable(f"CuPy is {version}; 14.2 or newer is needed", EXTRAS.replace("install", "install -U"))


def _unusable(why, remedy):
    """The error; of a text of somebody else as much as a line has room for."""
    end = f"; {remedy}, or use --backend numpy"
    return BackendError(f"backend 'cupy': {why[:LINE - len(end)]}{end}")


def _what_is_missing(error):
    """Why CuPy cannot be used, and what to do about it."""
    text = str(error).partition("Original error:")[2] or str(error)  # CuPy puts a page of advice before its cause
    said = next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")
    if isinstance(error, ModuleNotFoundError) and error.name == "cupy":
        return "CuPy is not installed", EXTRAS
    if "cudaErrorInsufficientDriver" in said:
        return ("there is no NVIDIA driver, or it is too old for this CuPy",
                f"install one and look at nvidia-smi, or {EXTRAS}")
    if "cudaErrorNoDevice" in said or "cudaErrorInvalidDevice" in said:
        chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
        return ("no NVIDIA GPU is found" + ("" if chosen is None else f" where CUDA_VISIBLE_DEVICES is {chosen!r:.40}"),
                "nvidia-smi -L lists them" if chosen is not None else "look at nvidia-smi")
    if "cudaErrorDevicesUnavailable" in said:
        return ("another program has the GPU for itself", "look at nvidia-smi, or choose another GPU with "
                "CUDA_VISIBLE_DEVICES")
    if re.search("NoKernelImageForDevice|NO_BINARY_FOR_GPU|ARCH_MISMATCH|invalid value for --gpu-architecture", said):
        return ("the installed CuPy has no code for this GPU",
                "pip install 'tinygrad-gpt[cuda12]' for a V100, [cuda13] for the newest cards")
    if out_of_memory(error) is not None:
        return (f"the GPU has no memory left ({said:.80})", "end the programs that nvidia-smi shows, or choose another "
                "GPU with CUDA_VISIBLE_DEVICES")
    return f"{type(error).__name__}: {said}", EXTRAS


def kernel_text(source: Path) -> str:
    """What is compiled of a .cu file: the text of kernels.cuh and its own, in ASCII.

    CuPy writes it to a file in the encoding of the locale, which may lack a letter of a comment.
    """
    text = KERNEL_HEADER.read_text(encoding="utf-8") + source.read_text(encoding="utf-8")
    return re.sub(r"[^\x00-\x7f]", "_", text)  # not "?", which begins a trigraph


def _cuda_launcher(cupy):
    @functools.cache
    def compiled(source, kernel):
        module = cupy.RawModule(code=kernel_text(source), options=("-std=c++17",), name_expressions=(kernel,))
        return module.get_function(kernel)

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
            source: the .cu file; see `kernel_text`.
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
