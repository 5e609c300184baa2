"""The seam between NumPy and CuPy, and the stand-in that the other tests run on."""

import platform
import re
import subprocess
import sys
import textwrap
import threading
import types
from pathlib import Path

import fake_cublas
import numpy as np
import pytest
import strict

from tinygrad_gpt import backend as seam
from tinygrad_gpt import ops
from tinygrad_gpt.backend import (
    Backend,
    backend_of,
    default_backend,
    get_backend,
    is_integer,
    on_backend,
    out_of_memory,
    register_backend,
    use_backend,
)
from tinygrad_gpt.engine import Tensor, checking, values_are_checked
from tinygrad_gpt.errors import BackendError, ShapeError

PACKAGE = Path(seam.__file__).parent


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(BackendError, match=r"backend 'tpu': unknown; choose one of auto, numpy, cupy, strict"):
        get_backend("tpu")


def only_numpy(monkeypatch, import_module):
    """As in a fresh process where imports of CuPy go to ``import_module``."""
    from tinygrad_gpt import backend as module

    monkeypatch.setattr(module, "importlib", types.SimpleNamespace(import_module=import_module))
    monkeypatch.setattr(module, "_loaded", {"numpy": get_backend("numpy")})


class CuPy:
    """A package that stands for CuPy, with one device and 1 GB of memory, of which 300 MB are taken."""

    float32 = np.float32
    ndarray = strict.Array
    asnumpy = strict.Array.get

    def __init__(self, devices=1, failing="", error=None):
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
        self.cuda = types.SimpleNamespace(runtime=runtime, cublas=fake_cublas, get_current_stream=lambda: None)
        self.get_default_memory_pool = lambda: types.SimpleNamespace(
            total_bytes=lambda: 300_000_000, free_bytes=lambda: 100_000_000, free_all_blocks=lambda: None)


def use_cupy(monkeypatch, package):
    modules = {"cupy": package, "cupyx.scipy.special": types.SimpleNamespace(erf=None)}
    only_numpy(monkeypatch, modules.__getitem__)


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


NO_DEVICE = "no NVIDIA GPU is found; look at nvidia-smi and CUDA_VISIBLE_DEVICES, or use --backend numpy"


@pytest.mark.parametrize(("package", "text"), [
    (CuPy(devices=0), NO_DEVICE),
    (CuPy(failing="getDeviceCount",
          error=CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")), NO_DEVICE),
    (CuPy(failing="getDeviceCount", error=CUDARuntimeError(
        "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version")),
     f"there is no NVIDIA driver, or it is too old for this CuPy; install one and look at nvidia-smi, or {EXTRAS}"),
    (CuPy(failing="ones", error=CUDARuntimeError("cudaErrorMemoryAllocation: out of memory")),
     "the GPU has no memory left at the start (cudaErrorMemoryAllocation: out of memory); end the programs that "
     "nvidia-smi shows, or choose another GPU with CUDA_VISIBLE_DEVICES, or use --backend numpy"),
    (CuPy(failing="ones", error=OutOfMemoryError("Out of memory allocating 512 bytes (allocated so far: 0 bytes).")),
     "the GPU has no memory left at the start (Out of memory allocating 512 bytes (allocated so far: 0 bytes).); end "
     "the programs that nvidia-smi shows, or choose another GPU with CUDA_VISIBLE_DEVICES, or use --backend numpy"),
    (CuPy(failing="ones", error=RuntimeError("CuPy failed to load libnvrtc.so.12: cannot open shared object file")),
     f"RuntimeError: CuPy failed to load libnvrtc.so.12: cannot open shared object file; {EXTRAS}"),
])
def test_a_gpu_that_cannot_be_used_says_why(package, text, monkeypatch):
    use_cupy(monkeypatch, package)
    with pytest.raises(BackendError) as caught:
        get_backend("cupy")
    assert str(caught.value) == f"backend 'cupy': {text}"
    assert get_backend("auto").name == "numpy"


def test_a_gpu_that_works_is_taken_and_tells_its_memory(monkeypatch):
    from tinygrad_gpt import backend as module

    monkeypatch.setattr(module, "_by_type", {})
    use_cupy(monkeypatch, CuPy())
    cupy = get_backend("auto")
    assert (cupy.name, cupy.memory(), cupy.free_memory()) == ("cupy", 300_000_000, 800_000_000)
    assert cupy.launch is not None
    cupy.give_back()


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


def test_arrays_find_their_backend(backend):
    array = backend.from_numpy(np.ones(3, np.float32))
    assert backend_of(array) is backend
    assert backend_of(array[:0]) is backend
    assert backend_of(np.float32(1.0)).name == "numpy"
    with pytest.raises(BackendError, match=r"list: not an array of a loaded backend \(numpy.*\); wrap it in a Tensor"):
        backend_of([1.0])


def test_subclasses_of_arrays_belong_to_their_backend(tmp_path):
    mapped = np.memmap(tmp_path / "array", np.float32, "w+", shape=(3,))
    assert backend_of(mapped).name == "numpy"
    assert ops.exp(Tensor(mapped)).tolist() == [1.0, 1.0, 1.0]


def test_mixed_backends_name_op_argument_and_remedy():
    here, there = Tensor([1.0, 2.0], backend="numpy"), Tensor([1.0, 2.0], backend="strict")
    with pytest.raises(BackendError, match="op 'mul': 'b' is on strict but 'a' is on numpy; make both with the same "
                                           "backend"):
        here * there
    with pytest.raises(BackendError, match="op 'linear': 'weight' is on numpy but 'x' is on strict"):
        ops.linear(there, Tensor([[1.0], [1.0]], backend="numpy"))
    with pytest.raises(BackendError, match="op 'concat': 'arrays\\[2\\]' is on strict"):
        ops.concat(here, here, there)
    with pytest.raises(BackendError, match="op 'where': 'a' is on strict but 'condition' is on numpy"):
        ops.where(np.array([True, False]), there, 0.0)
    with pytest.raises(BackendError, match="op 'add': 'b' is on strict but 'a' is on numpy"):
        here + there.data


def test_round_trip(backend):
    for dtype in (np.float64, np.float32, np.float16, np.int64, np.int32, np.uint8, bool):
        host = np.arange(6).reshape(2, 3).astype(dtype)
        back = backend.to_numpy(backend.from_numpy(host))
        assert back.dtype == dtype
        assert np.array_equal(back, host)
    backend.synchronize()
    assert backend.memory() >= 0
    assert backend.free_memory() > 0
    backend.give_back()


@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
def test_index_add_sums_repeated_rows(shape, backend):
    r = np.random.default_rng(0)
    index, values = r.integers(0, 5, 50), r.standard_normal((50, *shape))
    target, expected = backend.from_numpy(np.ones((6, *shape))), np.ones((6, *shape))
    np.add.at(expected, index, values)
    backend.index_add(target, backend.from_numpy(index), backend.from_numpy(values))
    assert np.allclose(backend.to_numpy(target), expected, rtol=1e-13)
    backend.index_add(target, backend.from_numpy(index[:0]), backend.from_numpy(values[:0]))
    assert np.allclose(backend.to_numpy(target), expected, rtol=1e-13)


def test_index_add_is_repeatable():
    r = np.random.default_rng(0)
    index, values = r.integers(0, 5, 5000), r.standard_normal((5000, 3)).astype(np.float32)
    results = []
    for _ in range(2):
        target = np.zeros((5, 3), np.float32)
        get_backend("numpy").index_add(target, index, values)
        results.append(target.tobytes())
    assert results[0] == results[1]


def test_bmm_and_erf(backend):
    r = np.random.default_rng(0)
    a, b = r.standard_normal((2, 3, 4, 5)), r.standard_normal((2, 3, 5, 2))
    product = backend.to_numpy(backend.bmm(backend.from_numpy(a), backend.from_numpy(b)))
    assert np.allclose(product, a @ b, rtol=1e-13)
    x = np.linspace(-3, 3, 7)
    import math

    assert np.allclose(backend.to_numpy(backend.erf(backend.from_numpy(x))), [math.erf(v) for v in x], rtol=1e-14)


def test_the_default_backend_is_local_to_the_thread():
    seen = []
    use_backend("strict")
    try:
        assert Tensor([1.0]).data.__class__ is strict.Array
        thread = threading.Thread(target=lambda: seen.append(default_backend().name))
        thread.start()
        thread.join()
    finally:
        use_backend("numpy")
    assert seen == ["numpy"]


def test_a_backend_for_a_block():
    with on_backend("strict") as inside:
        assert default_backend() is inside
        with on_backend(None) as same:
            assert same is inside
        with pytest.raises(BackendError), on_backend("tpu"):
            pytest.fail("there is no such backend")
        assert default_backend() is inside
    assert default_backend().name == "numpy"


def test_a_backend_is_loaded_once_and_when_asked_for():
    calls = []

    class Array(np.ndarray):
        pass

    def load():
        calls.append(1)
        numpy = get_backend("numpy")
        return Backend("late", np, Array, *(getattr(numpy, f) for f in (
            "from_numpy", "to_numpy", "index_add", "bmm", "erf", "synchronize", "memory", "on_host")))

    from tinygrad_gpt import backend as module

    register_backend("late", load)
    try:
        assert calls == []
        assert get_backend("late") is get_backend("late")
        assert calls == [1]
    finally:
        for table in (module._loaders, module._loaded):
            table.pop("late", None)
        module._by_type.pop(Array, None)


def test_integers():
    assert [is_integer(np.dtype(d)) for d in ("bool", "int8", "uint64", "float16", "float32", "V2")] == [
        True, True, True, False, False, False]


def test_values_are_looked_at_where_it_costs_nothing_or_in_checking_mode():
    weight, ids = np.ones((3, 2)), np.array([0, 7])
    with pytest.raises(ShapeError, match="outside 0 … 2"):
        ops.embedding(Tensor(weight), ids)
    there, far = Tensor(weight, backend="strict"), Tensor(ids, backend="strict")
    before = strict.synchronisations
    assert ops.embedding(there, far).shape == (2, 2)  # the device wraps 7 around and says nothing
    assert strict.synchronisations == before
    assert not values_are_checked(far.data)
    with checking(), pytest.raises(ShapeError, match="outside 0 … 2"):
        ops.embedding(there, far)
    with checking(), pytest.raises(ShapeError, match="op 'cross_entropy': targets hold 0 … 7, outside 0 … 1"):
        ops.cross_entropy(there[:2], far)


def test_a_training_step_waits_for_the_device_once_to_read_the_loss():
    use_backend("strict")
    try:
        r = np.random.default_rng(0)
        table, weight, bias = (Tensor(r.standard_normal(s).astype(np.float32), requires_grad=True, backend="strict")
                               for s in ((9, 6), (6, 18), (18,)))
        ids, targets = Tensor([[1, 2, 3], [4, 5, 0]]), Tensor([[2, 3, 4], [5, 0, -100]])
        padding = Tensor([[True, True, True], [True, True, False]])
        before = strict.synchronisations
        with strict.pure_float32():
            x = ops.embedding(table, ids)
            x = ops.layer_norm(x, table[0], table[1])
            x = ops.gelu(ops.self_attention(ops.linear(x, weight, bias), padding, None, n_head=2) + x)
            keep = ops.keep_mask(default_backend().xp, 7, x.shape, 0.1)
            loss = ops.cross_entropy(ops.dropout(x, keep, p=0.1) @ table.T, targets, label_smoothing=0.1)
            loss.backward()
        assert strict.synchronisations == before
        assert np.isfinite(loss.item())
        assert strict.synchronisations == before + 1
    finally:
        use_backend("numpy")


# -- the stand-in refuses what CuPy refuses


@pytest.fixture
def x():
    return get_backend("strict").from_numpy(np.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize("use", [
    lambda x: np.asarray(x), lambda x: np.ones(3) + x, lambda x: x + np.ones(3), lambda x: x[np.array([0])],
    lambda x: x.__setitem__(0, np.ones(3)), lambda x: strict.xp.maximum(x, np.ones(3)), lambda x: np.ones(3) < x,
    lambda x: x.__iadd__(np.ones(3)), lambda x: strict.xp.concatenate([x, np.ones((1, 3))]),
    lambda x: x.sum(where=True), lambda x: strict.xp.max(x, initial=0.0), lambda x: list(x.sum()),
    lambda x: x.sum(axis=0, initial=1.0), lambda x: np.add.at(x, 0, 1.0)])
def test_strict_refuses(use, x):
    with pytest.raises(TypeError):
        use(x)


@pytest.mark.parametrize("name", ["trapezoid", "matrix_transpose", "nditer", "frompyfunc", "errstate", "memmap"])
def test_strict_has_only_names_of_cupy(name):
    assert hasattr(np, name)
    with pytest.raises(AttributeError, match=f"module 'cupy' has no attribute '{name}'"):
        getattr(strict.xp, name)


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
    named = set(re.findall(r"\b(cupy|xp|cublas|runtime)((?:\.[a-zA-Z]\w*)+)", source))
    assert {root for root, _ in named} == set(roots)
    lacking = []
    for root, path in sorted(named):
        value = roots[root]
        for name in path.split(".")[1:]:
            if not hasattr(value, name):
                lacking.append(root + path)
                break
            value = getattr(value, name)
    assert lacking == []


@pytest.mark.parametrize("read", [
    lambda x: float(x.sum()), lambda x: int(x.sum()), lambda x: bool(x.sum()), lambda x: x.sum().item(), repr,
    lambda x: x.tolist(), lambda x: x.get(), lambda x: f"{x.sum()}", lambda x: [0, 1][x.sum().astype(int) - 15],
    lambda x: x[x > 2], lambda x: x[0].nonzero(), lambda x: strict.xp.unique(x)])
def test_strict_counts_what_waits(read, x):
    before = strict.synchronisations
    read(x)
    assert strict.synchronisations == before + 1


@pytest.mark.parametrize("use", [
    lambda x: x.sum(), lambda x: x + 1, lambda x: x.shape, lambda x: len(x), lambda x: list(x), lambda x: x[0, 1],
    lambda x: strict.xp.where(x > 2, x, 0.0), lambda x: x @ x.T, lambda x: np.float32(2) * x, lambda x: x.copy(),
    lambda x: strict.xp.copyto(x, -1.0, where=x > 2), lambda x: strict.xp.exp(x, out=x),
    lambda x: x.flags.c_contiguous])
def test_strict_does_not_count_what_does_not_wait(use, x):
    before = strict.synchronisations
    use(x)
    assert strict.synchronisations == before


def test_strict_behaves_as_cupy_does(x):
    assert isinstance(x.sum(), strict.Array)
    assert x.sum().shape == ()
    assert isinstance(x[0, 0] + x[0, 1], strict.Array)
    ids = strict.xp.asarray(np.array([0, 5, -7]))
    assert x[ids].get()[:, 0].tolist() == [0.0, 3.0, 3.0]  # out of range wraps around
    with pytest.raises(IndexError):
        x[5]
    assert x.reshape(6).base is x
    assert x.T[0].base is x
    assert x.copy().base is None
    assert x[0:1].reshape(3).base is x
    assert not hasattr(x.flags, "writeable")
    out = strict.xp.empty((2, 3))
    assert np.isnan(out.get()).all()
    assert strict.xp.add(x, x, out=out) is out
    with pytest.raises(AssertionError, match="twice"):
        x[strict.xp.asarray(np.array([0, 0]))] = 1.0
    with pytest.raises(AssertionError, match="float64 in float32 work"), strict.pure_float32():
        x * 2


def test_strict_products_are_those_of_matmul():
    """What `Backend.bmm` is there for."""
    half = strict.xp.asarray(np.ones((2, 3, 4), "bfloat16"))
    with pytest.raises(TypeError, match="bfloat16 arrays of more than two axes"):
        half @ half.swapaxes(1, 2)
    with pytest.raises(TypeError, match="bfloat16 arrays of more than two axes"):
        strict.xp.matmul(half, half.swapaxes(1, 2))
    flat = half.reshape(6, 4)
    assert (flat @ flat.T).dtype == half.dtype
    many = strict.xp.asarray(np.ones((1, 4096), np.float16))
    assert (many @ many.T).item() == 4096  # summed in float32


def test_strict_counts_copies_of_factors():
    a, b = (strict.xp.asarray(np.ones(shape)) for shape in ((2, 3, 4), (5, 4)))
    for count, use in ((0, lambda: a @ b.T.copy()), (1, lambda: a @ a.swapaxes(1, 2)), (0, lambda: b @ b.T),
                       (1, lambda: b[:, :2] @ b[:, :2].T.copy()), (0, lambda: get_backend("strict").bmm(a, b.T))):
        before = strict.copies
        use()
        assert strict.copies == before + count


def test_strict_atomics_have_no_order_and_not_every_dtype():
    ids, sums = np.zeros(3, int), set()
    for _ in range(2):
        target = strict.xp.zeros(1, dtype=np.float32)
        strict.xp.add.at(target, strict.xp.asarray(ids), strict.xp.asarray(np.array([1e8, -1e8, 1.0], np.float32)))
        sums.add(target.item())
    assert sums == {0.0, 1.0}
    for dtype in ("bfloat16", "int64"):
        target = strict.xp.zeros(1, dtype=dtype)
        with pytest.raises(TypeError, match="supports only"):
            strict.xp.add.at(target, strict.xp.asarray(ids), target[strict.xp.asarray(ids)])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is one of glibc's malloc")
def test_memory_of_freed_arrays_is_used_again():
    code = """
        import resource
        import numpy as np
        import tinygrad_gpt.backend

        def page_faults():
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

        np.ones(10_000_000)
        before = page_faults()
        for _ in range(10):
            np.ones(10_000_000)  # 80 MB: 19,500 pages
        print(page_faults() - before)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 100
