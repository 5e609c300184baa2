"""Every CUDA kernel, for every type, compiles for the GPUs at hand: A100 (sm_80) and H100, H200 (sm_90)."""

import re
from pathlib import Path

import nvrtc
import pytest

import tinygrad_gpt
from tinygrad_gpt.backend.cupy import KERNEL_HEADER
from tinygrad_gpt.ops.cuda.launch import SCALARS

PACKAGE = Path(tinygrad_gpt.__file__).parent
SOURCES = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.cu"))}
KERNEL = re.compile(r"__global__ void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)")
ONE_TYPE = re.compile(r"^template <typename T>.*\n" + KERNEL.pattern, re.MULTILINE)
LISTED = re.compile(r"^// Compiled as: (.*)", re.MULTILINE)
needs_nvrtc = pytest.mark.skipif(not nvrtc.available(),
                                 reason="NVIDIA's compiler is not installed (pip install -e '.[dev]' on Linux)")


def expressions(text):
    """Every kernel of a .cu file with every type: "gelu<float>", "gelu<double>" …

    Kernels whose template takes more than one type stand in a comment: ``// Compiled as: tiles<float, 64>; …``.
    """
    of_one_type = [f"{name}<{scalar}>" for name in ONE_TYPE.findall(text) for scalar in SCALARS.values()]
    return of_one_type + [expression for line in LISTED.findall(text) for expression in line.split("; ")]


def test_kernels_are_found_with_their_types():
    text = ("template <typename T>\n__global__ void f(T* x) {}\n__device__ void g() {}\n"
            "// Compiled as: k<float, 64>; k<double, 32>\ntemplate <typename T, int SIZE>\n"
            "__global__ void __launch_bounds__(256)\nk(T* x) {}")
    assert list(expressions(text)) == ["f<float>", "f<double>", "f<__half>", "f<__nv_bfloat16>", "k<float, 64>",
                                       "k<double, 32>"]
    assert KERNEL.findall(text) == ["f", "k"]


@pytest.mark.parametrize("name", SOURCES)
def test_every_kernel_is_compiled(name):
    text = SOURCES[name].read_text(encoding="utf-8")
    kernels = KERNEL.findall(text)
    assert len(kernels) == text.count("__global__") > 0
    assert set(kernels) == {expression.split("<")[0] for expression in expressions(text)}, "see `expressions`"


@needs_nvrtc
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("name", SOURCES)
def test_kernels_compile(name, architecture):
    header, source = KERNEL_HEADER.read_text(encoding="utf-8"), SOURCES[name].read_text(encoding="utf-8")
    kernels = [*expressions(header), *expressions(source)]
    assert nvrtc.compile_cuda(header + source, kernels, architecture) == ""


@needs_nvrtc
@pytest.mark.parametrize("name", SOURCES)
def test_kernels_compile_with_the_headers_and_options_of_cupy(name):
    """What `cupy.RawModule` does before it needs a GPU: its own folders of headers, denormal numbers flushed to 0."""
    pytest.importorskip("cupy", reason="CuPy is not installed")
    from cupy._core.core import assemble_cupy_compiler_options
    from cupy.cuda.compiler import _NVRTCProgram

    header, source = KERNEL_HEADER.read_text(encoding="utf-8"), SOURCES[name].read_text(encoding="utf-8")
    kernels = tuple(expression for expression in expressions(source) if "__nv_bfloat16" in expression)
    program = _NVRTCProgram(header + source, "kern.cu", (), (), name_expressions=kernels)
    options = (*assemble_cupy_compiler_options(("-std=c++17",)), "-ftz=true", "--gpu-architecture=sm_90")
    compiled, symbols = program.compile(options, None)
    assert compiled
    assert set(symbols) == set(kernels)


@needs_nvrtc
def test_the_compiler_complains():
    assert "undefined" in nvrtc.compile_cuda("__global__ void f(float* x) { x[0] = y; }", ["f"], "sm_80")
    large = "__global__ void f(float* x) { __shared__ float a[99999]; a[threadIdx.x] = x[0]; x[1] = a[1]; }"
    assert "too much shared" in nvrtc.compile_cuda(large, ["f"], "sm_80")
