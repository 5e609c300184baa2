"""NVIDIA's compiler of CUDA C++ as a library, NVRTC: it needs no GPU.

It comes in the wheel nvidia-cuda-nvrtc-cu12, the headers that kernels include in nvidia-cuda-runtime-cu12.

Source: https://docs.nvidia.com/cuda/nvrtc/
"""

import ctypes
import functools
import importlib.util
import re
from pathlib import Path


def _folder(package, name):
    """A folder of one of NVIDIA's wheels; None where it is not installed."""
    try:
        spec = importlib.util.find_spec(f"nvidia.{package}")
    except ModuleNotFoundError:
        return None
    folders = [Path(place, name) for place in (spec.submodule_search_locations if spec else ())]
    return next((folder for folder in folders if folder.is_dir()), None)


@functools.cache
def _library():
    found = sorted(_folder("cuda_nvrtc", "lib").glob("libnvrtc.so.*"))
    return ctypes.CDLL(str(found[0]))


def available():
    """Whether the compiler and the headers of CUDA are installed."""
    return _folder("cuda_nvrtc", "lib") is not None and _folder("cuda_runtime", "include") is not None


@functools.cache
def architectures():
    """What it compiles for: "sm_70", "sm_75" …"""
    nvrtc, count = _library(), ctypes.c_int()
    nvrtc.nvrtcGetNumSupportedArchs(ctypes.byref(count))
    numbers = (ctypes.c_int * count.value)()
    nvrtc.nvrtcGetSupportedArchs(numbers)
    return {f"sm_{number}" for number in numbers}


def compile_cuda(text, kernels, architecture):
    """Compile kernels, such as "gelu<float>", for an architecture, such as "sm_90"; the messages, "" if all is well."""
    nvrtc, program = _library(), ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernels.cu", 0, None, None)
    for kernel in kernels:
        nvrtc.nvrtcAddNameExpression(program, kernel.encode())
    options = [f"-I{_folder('cuda_runtime', 'include')}", "-std=c++17", f"--gpu-architecture={architecture}"]
    pointers = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    result = nvrtc.nvrtcCompileProgram(program, len(options), pointers)
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    said = re.sub(r"nvrtc: warning: Architectures prior to .* are deprecated .*\n*", "", log.value.decode())
    return said or ("" if result == 0 else f"error {result}")
