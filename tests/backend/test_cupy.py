"""CuPy as a backend: what is missing is said, and every name that is called exists."""


import re
import subprocess
import sys
import types
from pathlib import Path

import fake_cublas
import numpy as np
import pytest
import strict

from tinygrad_gpt import backend as seam
from tinygrad_gpt.backend import (
    cupy,
    get_backend,
    loading,
    out_of_memory,
)
from tinygrad_gpt.errors import BackendError

PACKAGE = Path(seam.__file__).parents[1]


def only_numpy(monkeypatch, import_module):
    """As in a fresh process where imports of CuPy go to ``import_module``."""
    monkeypatch.setattr(cupy, "importlib", types.SimpleNamespace(import_module=import_module))
    monkeypatch.setattr(loading, "_loaded", {"numpy": get_backend("numpy")})


class CuPy:
    """A package that stands for CuPy, with one device and 1 GB of memory, of which 300 MB are taken."""

    __version__ = "14.2.0"
    float32 = np.float32
    ndarray = strict.Array
    asnumpy = strict.Array.get

    def __init__(self, devices=1, failing="", error=None, capability="90"):
        def answer(name, value):
            def function(*args):
                if name == failing:
                    raise error
                return value
            return function

        self.ones = answer("ones", np.ones((2, 2), np.float32))
        self.asarray = strict.xp.asarray
        self.add, self.matmul = strict.xp.add, strict.xp.matmul
        runtime = types.SimpleNamespace(getDeviceCount=answer("getDeviceCount", devices),
                                        memGetInfo=lambda: (700_000_000, 1_000_000_000),
                                        **vars(fake_cublas.cuda.runtime))
        self.cuda = types.SimpleNamespace(runtime=runtime, cublas=fake_cublas, get_current_stream=lambda: None,
                                          Device=lambda: types.SimpleNamespace(compute_capability=capability))
        self.get_default_memory_pool = lambda: types.SimpleNamespace(
            total_bytes=lambda: 300_000_000, free_bytes=lambda: 100_000_000, free_all_blocks=lambda: None)


def use_cupy(monkeypatch, package):
    modules = {"cupy": package, "cupyx.scipy.special": types.SimpleNamespace(erf=None)}
    only_numpy(monkeypatch, modules.__getitem__)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


class CUDARuntimeError(RuntimeError):
    """As CuPy's."""


class OutOfMemoryError(MemoryError):
    """As CuPy's."""


EXTRAS = "pip install 'tinygrad-gpt[cuda12]', or [cuda13], whichever CUDA nvidia-smi shows, or use --backend numpy"
BANNER = f"""
{"=" * 60}
Failed to import CuPy.

If you installed CuPy via wheels (cupy-cudaXXX), make sure that the package matches with the version of CUDA.

Original error:
  ImportError: libnvrtc.so.12: cannot open shared object file
{"=" * 60}
"""


@pytest.mark.parametrize(("error", "text"), [
    (ModuleNotFoundError("No module named 'cupy'", name="cupy"), f"CuPy is not installed; {EXTRAS}"),
    (ModuleNotFoundError("No module named 'fastrlock'", name="fastrlock"),
     f"ModuleNotFoundError: No module named 'fastrlock'; {EXTRAS}"),
    (ImportError(BANNER), f"ImportError: ImportError: libnvrtc.so.12: cannot open shared object file; {EXTRAS}"),
    (AttributeError("module 'numpy' has no\nattribute 'x'"), f"AttributeError: module 'numpy' has no; {EXTRAS}"),
    (OSError(), f"OSError: no reason given; {EXTRAS}"),
])
def test_cupy_that_cannot_be_imported_says_what_to_install(error, text, monkeypatch):
    def broken(name):
        raise error

    only_numpy(monkeypatch, broken)
    with pytest.raises(BackendError) as caught:
        get_backend("cupy")
    assert str(caught.value) == f"backend 'cupy': {text}"
    assert caught.value.exit_code == 1
    assert get_backend("auto").name == "numpy"


NO_DEVICE = "no NVIDIA GPU is found; look at nvidia-smi, or use --backend numpy"
OTHER_GPU = ("end the programs that nvidia-smi shows, or choose another GPU with CUDA_VISIBLE_DEVICES, or use "
             "--backend numpy")
NO_IMAGE = ("the installed CuPy has no code for this GPU; pip install 'tinygrad-gpt[cuda12]' for a V100, [cuda13] for "
            "the newest cards, or use --backend numpy")


@pytest.mark.parametrize(("package", "text"), [
    (CuPy(devices=0), NO_DEVICE),
    (CuPy(failing="getDeviceCount",
          error=CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")), NO_DEVICE),
    (CuPy(failing="getDeviceCount", error=CUDARuntimeError(
        "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version")),
     f"there is no NVIDIA driver, or it is too old for this CuPy; install one and look at nvidia-smi, or {EXTRAS}"),
    (CuPy(failing="ones", error=CUDARuntimeError("cudaErrorMemoryAllocation: out of memory")),
     f"the GPU has no memory left (cudaErrorMemoryAllocation: out of memory); {OTHER_GPU}"),
    (CuPy(failing="ones", error=OutOfMemoryError("Out of memory allocating 512 bytes (allocated so far: 0 bytes).")),
     f"the GPU has no memory left (Out of memory allocating 512 bytes (allocated so far: 0 bytes).); {OTHER_GPU}"),
    (CuPy(failing="ones", error=CUDARuntimeError(
        "cudaErrorNoKernelImageForDevice: no kernel image is available for execution on the device")), NO_IMAGE),
    (CuPy(failing="ones", error=RuntimeError("CUDA_ERROR_NO_BINARY_FOR_GPU: no kernel image is available")), NO_IMAGE),
    (CuPy(failing="ones", error=RuntimeError("nvrtc: error: invalid value for --gpu-architecture (-arch)")), NO_IMAGE),
    (CuPy(failing="ones", error=RuntimeError("CUBLAS_STATUS_ARCH_MISMATCH")), NO_IMAGE),
    (CuPy(failing="ones", error=CUDARuntimeError("cudaErrorDevicesUnavailable: CUDA-capable device(s) is/are busy")),
     "another program has the GPU for itself; look at nvidia-smi, or choose another GPU with CUDA_VISIBLE_DEVICES, or "
     "use --backend numpy"),
    (CuPy(capability="61"),
     "the GPU has compute capability 6.1; 7.0 (V100) or newer is needed, or use --backend numpy"),
    (CuPy(failing="ones", error=CUDARuntimeError("cudaErrorUnknown: " + 300 * "x")),
     f"CUDARuntimeError: cudaErrorUnknown: {75 * 'x'}; {EXTRAS}"),
    (CuPy(failing="ones", error=RuntimeError("CuPy failed to load libnvrtc.so.12: cannot open shared object file")),
     f"RuntimeError: CuPy failed to load libnvrtc.so.12: cannot open shared object file; {EXTRAS}"),
])
def test_a_gpu_that_cannot_be_used_says_why(package, text, monkeypatch):
    use_cupy(monkeypatch, package)
    with pytest.raises(BackendError) as caught:
        get_backend("cupy")
    assert str(caught.value) == f"backend 'cupy': {text}"
    assert len(f"error: {caught.value}") <= 240
    assert get_backend("auto").name == "numpy"


@pytest.mark.parametrize("error", ["cudaErrorNoDevice: no CUDA-capable device is detected",
                                   "cudaErrorInvalidDevice: invalid device ordinal"])
def test_a_gpu_that_does_not_exist_is_named_as_it_was_chosen(error, monkeypatch):
    use_cupy(monkeypatch, CuPy(failing="getDeviceCount", error=CUDARuntimeError(error)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with pytest.raises(BackendError) as caught:
        get_backend("cupy")
    assert str(caught.value) == ("backend 'cupy': no NVIDIA GPU is found where CUDA_VISIBLE_DEVICES is '7'; nvidia-smi "
                                 "-L lists them, or use --backend numpy")


@pytest.mark.parametrize("version", ["13.6.0", "14.0.1", "14.1.1"])
def test_a_cupy_that_compiles_in_every_process_is_refused(version, monkeypatch):
    package = CuPy()
    package.__version__ = version
    use_cupy(monkeypatch, package)
    with pytest.raises(BackendError) as caught:
        get_backend("cupy")
    assert str(caught.value) == (f"backend 'cupy': CuPy is {version}; 14.2 or newer is needed; pip install -U "
                                 "'tinygrad-gpt[cuda12]', or [cuda13], whichever CUDA nvidia-smi shows, or use "
                                 "--backend numpy")


@pytest.mark.parametrize("version", ["14.2.0", "14.10.0rc1", "15.0.0a1"])
def test_a_newer_cupy_is_taken(version, monkeypatch):
    monkeypatch.setattr(loading, "_by_type", {})
    package = CuPy()
    package.__version__ = version
    use_cupy(monkeypatch, package)
    assert get_backend("cupy").card().capability == 90


def test_two_packages_of_cupy_are_refused_before_either_is_imported(monkeypatch):
    def distribution(name):
        if name in ("cupy-cuda12x", "cupy-cuda13x"):
            return name
        raise cupy.metadata.PackageNotFoundError(name)

    only_numpy(monkeypatch, lambda name: pytest.fail("it is imported"))
    monkeypatch.setattr(cupy.metadata, "distribution", distribution)
    with pytest.raises(BackendError) as caught:
        get_backend("cupy")
    assert str(caught.value) == ("backend 'cupy': CuPy is installed 2 times, and each overwrites the other "
                                 "(cupy-cuda12x, cupy-cuda13x); pip uninstall cupy-cuda12x cupy-cuda13x, then install "
                                 "one of them, or use --backend numpy")
    assert len(f"error: {caught.value}") <= 240


class Function:
    """A compiled kernel, as CuPy has it; `runs` are the bytes of shared memory of its launches."""

    def __init__(self):
        self.max_dynamic_shared_size_bytes = 48 * 1024
        self.runs = []

    def __call__(self, grid, block, args, shared_mem):
        assert shared_mem <= self.max_dynamic_shared_size_bytes
        self.runs.append(shared_mem)


def test_a_kernel_is_compiled_once_of_ascii_text(monkeypatch, tmp_path):
    """CuPy writes the text to a file in the encoding of the locale; cp1252, on Windows, has no sigma."""
    source, texts, function = tmp_path / "kernels.cu", [], Function()
    source.write_text("// Σ ȳ², π?\n", encoding="utf-8")

    def module(code, options, name_expressions):
        texts.append(code)
        return types.SimpleNamespace(get_function={"f<float>": function}.__getitem__)

    monkeypatch.setattr(loading, "_by_type", {})
    package = CuPy()
    package.RawModule = module
    use_cupy(monkeypatch, package)
    launch = get_backend("cupy").launch
    for shared in (0, 65536, 1024):
        launch(source, "f<float>", (1,), (32,), (), shared)
    assert function.runs == [0, 65536, 1024]
    assert len(texts) == 1
    assert texts[0].isascii()
    assert texts[0].endswith("// _ __, _?\n")


def test_a_gpu_that_works_is_taken_and_tells_its_memory(monkeypatch):
    monkeypatch.setattr(loading, "_by_type", {})
    use_cupy(monkeypatch, CuPy())
    found = get_backend("auto")
    assert (found.name, found.memory(), found.free_memory()) == ("cupy", 300_000_000, 800_000_000)
    assert found.launch is not None
    found.give_back()


@pytest.mark.parametrize(("error", "text"), [
    (OutOfMemoryError("Out of memory allocating 1,200,000,000 bytes (allocated so far: 79,000,000,000 bytes)."),
     "1.20 GB were asked for on the GPU, where arrays take 79.00 GB already"),
    (OutOfMemoryError("Out of memory allocating 1,200,000,000 bytes (allocated so far: 0 bytes, limit set to: 9 bytes"
                      ")."), "1.20 GB were asked for on the GPU, where arrays take 0.00 GB already"),
    (MemoryError(), "an allocation failed"),
    (MemoryError("Unable to allocate 7 GiB"), "Unable to allocate 7 GiB"),
    (CUDARuntimeError("cudaErrorMemoryAllocation: out of memory"),
     "the GPU has no more (cudaErrorMemoryAllocation: out of memory)"),
    (RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
     "the GPU has no more (CUDA_ERROR_OUT_OF_MEMORY: out of memory)"),
    (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"), "the GPU has no more (CUBLAS_STATUS_ALLOC_FAILED)"),
    (CUDARuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered"), None),
    (ValueError("out of memory"), None),
])
def test_errors_that_mean_that_memory_ran_out(error, text):
    assert out_of_memory(error) == text


def test_cupy_is_imported_only_when_asked_for():
    code = "import sys; from tinygrad_gpt import Tensor; Tensor([1.0]) + 1.0; print('cupy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"


@pytest.fixture(scope="module")
def installed_cupy():
    """CuPy itself, which imports without a GPU."""
    return pytest.importorskip("cupy", reason="CuPy is not installed; its names cannot be looked up")


def test_every_name_of_strict_is_one_of_cupy(installed_cupy):
    assert [name for name in strict.FUNCTIONS | strict.CONSTANTS if not hasattr(installed_cupy, name)] == []
    assert [name for name in strict.METHODS if not hasattr(installed_cupy.ndarray, name)] == []


def test_what_the_seam_calls_is_there(installed_cupy):
    """Also what only a GPU reaches: every name that the package takes from CuPy, and from its modules' bindings."""
    try:
        cublas = installed_cupy.cuda.cublas
    except ImportError as error:
        pytest.skip(f"CuPy is installed without cuBLAS, whose names cannot be looked up: {error}")
    roots = {"cupy": installed_cupy, "xp": installed_cupy, "cublas": cublas, "runtime": installed_cupy.cuda.runtime}
    source = "".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    named = set(re.findall(r"(?<![/.\w])(cupy|xp|cublas|runtime)((?:\.[a-zA-Z]\w*)+)", source))
    assert {root for root, _ in named} == set(roots)
    lacking = []
    for root, path in sorted(named):
        value = roots[root]
        for name in path.split(".")[1:]:
            if not hasattr(value, name):
                lacking.append(root + path)
                break
            value = getattr(value, name)
    assert lacking == ["xp.erf", "xp.scatter"]  # which `Namespace` adds
