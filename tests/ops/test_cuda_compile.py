"""Every CUDA kernel that a GPU can choose compiles for it: for some GPUs, and for all before a release."""

import re
from pathlib import Path

import numpy as np
import nvrtc
import pytest
from soak import SOAK

import tinygrad_gpt
from tinygrad_gpt.backend.cards import CARDS
from tinygrad_gpt.backend.cupy import kernel_text
from tinygrad_gpt.backend.precision import POLICIES
from tinygrad_gpt.ops.cuda.attention import TILED, WIDTHS, kernel_for
from tinygrad_gpt.ops.cuda.launch import SCALARS

PACKAGE = Path(tinygrad_gpt.__file__).parent
DOUBLE = np.dtype(np.float64)
SOURCES = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.cu"))}
KERNEL = re.compile(r"__global__ void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)")
LISTED = re.compile(r"^// Compiled as: (.*)", re.MULTILINE)
ONE_TYPE = re.compile(r"^template <typename T>.*\n" + KERNEL.pattern, re.MULTILINE)
needs_nvrtc = pytest.mark.skipif(not nvrtc.available(),
                                 reason="NVIDIA's compiler is not installed (pip install -e '.[dev]' on Linux)")


def of_every_type(text):
    """The kernels that are templates of one type, with each type: "gelu<float>", "gelu<double>" …

    What is no such template stands in a comment: ``// Compiled as: keep_mask; …``.
    """
    of_one_type = [f"{name}<{scalar}>" for name in ONE_TYPE.findall(text) for scalar in SCALARS.values()]
    return of_one_type + [expression for line in LISTED.findall(text) for expression in line.split("; ")]


def tiled(card, sizes=WIDTHS):
    """The kernels of attention that a GPU can choose for heads of these sizes."""
    types = [(POLICIES[name].dtype, name == "tf32") for name in POLICIES if name in card.tensor_cores] + [
        (POLICIES["float16"].dtype, False), (POLICIES["float32"].dtype, False), (DOUBLE, False)]
    found = [kernel_for(kernel, dtype, size, tf32, card) for kernel in TILED for dtype, tf32 in types for size in sizes]
    return list(dict.fromkeys(kernel.name for kernel in found if kernel))


def test_kernels_are_found_with_their_types():
    text = ("template <typename T>\n__global__ void f(T* x) {}\n__device__ void g() {}\n// Compiled as: k<float, 2>\n"
            "template <typename T, int SIZE>\n__global__ void __launch_bounds__(256)\nk(T* x) {}")
    assert of_every_type(text) == ["f<float>", "f<double>", "f<__half>", "f<__nv_bfloat16>", "k<float, 2>"]
    assert KERNEL.findall(text) == ["f", "k"]
    assert tiled(CARDS[70], (64,))[:3] == ["attend<Plain, __half, 64, 64>", "attend<Plain, float, 64, 64>",
                                           "attend<Plain, double, 64, 32>"]
    assert [len(tiled(card)) for card in CARDS.values()] == [33, 29, 60, 58, 58, 60, 60, 58]


@pytest.mark.parametrize("name", SOURCES)
def test_every_kernel_is_compiled(name):
    text = SOURCES[name].read_text(encoding="utf-8")
    kernels = KERNEL.findall(text)
    assert len(kernels) == text.count("__global__") > 0
    compiled = of_every_type(text) + (tiled(CARDS[90]) if name.endswith("attention.cu") else [])
    assert set(kernels) == {expression.split("<")[0] for expression in compiled}


@pytest.mark.parametrize("name", SOURCES)
def test_the_compiler_is_given_ascii_and_aligned_tiles(name):
    """CuPy writes the text in the encoding of the locale; a tile is read 16 bytes at a time."""
    text = kernel_text(SOURCES[name])
    assert text.isascii()
    assert SOURCES[name].read_text(encoding="utf-8").count("\n") < text.count("\n")
    assert all("__align__(16)" in line for line in text.splitlines() if line.startswith("extern __shared__"))


def compile_for(capability, name, kernels):
    if f"sm_{capability}" not in nvrtc.architectures():
        pytest.skip(f"this NVRTC does not know sm_{capability}; nvidia-cuda-nvrtc-cu12 does from 12.8 on")
    assert nvrtc.compile_cuda(kernel_text(SOURCES[name]), kernels, f"sm_{capability}") == ""


@needs_nvrtc
@pytest.mark.parametrize("capability", CARDS if SOAK else [75, 90])
@pytest.mark.parametrize("name", SOURCES)
def test_kernels_of_one_type_compile(name, capability):
    text = kernel_text(SOURCES[name])
    compile_for(capability, name, of_every_type(text))


CHOSEN = [  # one of each product, on the oldest card that has it; and the smallest tiles
    (70, "attend_grad_kv<Plain, __half, 16, 64>"), (75, "attend_grad_q<TensorCores, __half, 64, 64>"),
    (75, "attend_grad_kv<Plain, float, 64, 32>"), (80, "attend_grad_kv<TensorCores, __nv_bfloat16, 64, 64>"),
    (80, "attend<TensorCores, float, 64, 64>"), (86, "attend_grad_kv<TensorCores, float, 128, 16>")]


@needs_nvrtc
@pytest.mark.parametrize(("capability", "kernel"), [(capability, kernel) for capability, card in CARDS.items()
                                                    for kernel in tiled(card)] if SOAK else CHOSEN)
def test_kernels_of_attention_compile(capability, kernel):
    assert kernel in tiled(CARDS[capability])
    compile_for(capability, "ops/cuda/attention.cu", [kernel])


@needs_nvrtc
@pytest.mark.parametrize("name", SOURCES)
def test_kernels_compile_with_the_headers_and_options_of_cupy(name):
    """What `cupy.RawModule` does before it needs a GPU: its own folders of headers, denormal numbers flushed to 0."""
    pytest.importorskip("cupy", reason="CuPy is not installed")
    from cupy._core.core import assemble_cupy_compiler_options
    from cupy.cuda.compiler import _NVRTCProgram

    text = kernel_text(SOURCES[name])
    kernels = tuple(expression for expression in of_every_type(text) if "__nv_bfloat16" in expression)
    program = _NVRTCProgram(text, "kern.cu", (), (), name_expressions=kernels)
    options = (*assemble_cupy_compiler_options(("-std=c++17",)), "-ftz=true", "--gpu-architecture=sm_90")
    compiled, symbols = program.compile(options, None)
    assert compiled
    assert set(symbols) == set(kernels)


@needs_nvrtc
def test_the_compiler_complains():
    assert "undefined" in nvrtc.compile_cuda("__global__ void f(float* x) { x[0] = y; }", ["f"], "sm_80")
    large = "__global__ void f(float* x) { __shared__ float a[99999]; a[threadIdx.x] = x[0]; x[1] = a[1]; }"
    assert "too much shared" in nvrtc.compile_cuda(large, ["f"], "sm_80")
