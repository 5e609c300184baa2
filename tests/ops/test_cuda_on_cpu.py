"""The examiner of the kernels examined: what CUDA would do silently, or sometimes, fails on the CPU."""

import cuda_on_cpu
import ml_dtypes
import numpy as np
import pytest
from cuda_on_cpu import in_order

from tinygrad_gpt.backend import get_backend

pytestmark = pytest.mark.skipif(cuda_on_cpu.COMPILER is None,
                                reason="g++, which compiles the kernels for the CPU, is not installed")

KERNELS = """
template <typename T>
__global__ void reversed(const T* x, T* y, long long barrier) {
    __shared__ T tile[64];
    tile[threadIdx.x] = x[blockIdx.x * 64 + threadIdx.x];
    if (barrier) __syncthreads();
    y[blockIdx.x * 64 + threadIdx.x] = tile[63 - threadIdx.x];
}
template <typename T>
__global__ void some_wait(T* y, long long first, long long warp) {
    if (threadIdx.x < first) { if (warp) __syncwarp(); else __syncthreads(); }
    y[threadIdx.x] = 1;
}
template <typename T>
__global__ void two_barriers(T* y) {
    if (threadIdx.x % 2) __syncthreads();
    else __syncthreads();
    y[threadIdx.x] = 1;
}
template <typename T>
__global__ void write(const T* x, T* y, long long i) { y[i] = x[0]; }
template <typename T>
__global__ void write_shared(T* y, long long i) {
    extern __shared__ unsigned char dynamic_shared_memory[];
    dynamic_shared_memory[i] = 0;
    y[0] = dynamic_shared_memory[i + 1] == 255;
}
template <typename T>
__global__ void lanes(const T* x, T* xored, T* down, T* up, T* first, T* sum) {
    unsigned i = threadIdx.x;
    xored[i] = __shfl_xor_sync(0xFFFFFFFF, x[i], 5);
    down[i] = __shfl_down_sync(0xFFFFFFFF, x[i], 4, 8);
    up[i] = __shfl_up_sync(0xFFFFFFFF, x[i], 3);
    first[i] = __shfl_sync(0xFFFFFFFF, x[i], 1, 16);
    sum[i] = block_sum(x[i]) + block_max(x[i]);
}
template <typename T>
__global__ void places(T* y) {
    y[((blockIdx.y * gridDim.x + blockIdx.x) * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x] =
        1000 * blockIdx.y + 100 * blockIdx.x + 10 * threadIdx.y + threadIdx.x;
}
template <typename T>
__global__ void last(long long* y) { y[0] = threadIdx.x; }
template <typename T>
__global__ void table(T* const* rows, const T* const* added, double factor) {
    rows[blockIdx.x][threadIdx.x] += T(float(added[blockIdx.x][threadIdx.x]) * factor);
}
template <typename T>
__global__ void rounded(const float* x, T* y) { y[threadIdx.x] = T(x[threadIdx.x]); }
template <typename T>
__global__ void widened(const T* x, float* y) { y[threadIdx.x] = float(x[threadIdx.x]); }
"""


@pytest.fixture(scope="module")
def launch(tmp_path_factory):
    """Runs a kernel of the text above on NumPy arrays, in place."""
    source = tmp_path_factory.mktemp("kernels") / "kernels.cu"
    source.write_text(KERNELS)

    def run(kernel, grid, block, *args, shared=0):
        cuda_on_cpu.launch(source, kernel, grid, block, args, shared)

    return run


def floats(n):
    return np.arange(n, dtype=np.float32)


@pytest.mark.parametrize("order", range(6))
def test_threads_see_what_stood_before_a_barrier(launch, order):
    x, y = floats(192), floats(192)
    with in_order(order):
        launch("reversed<float>", (3,), (64,), x, y, 1)
        assert np.array_equal(y.reshape(3, 64), x.reshape(3, 64)[:, ::-1])
        launch("reversed<float>", (3,), (64,), x, y, 0)
    assert np.isnan(y).any(), "without the barrier some read before others wrote"


@pytest.mark.parametrize(("kernel", "args"), [("some_wait<float>", (floats(64), 40, 0)),
                                              ("some_wait<float>", (floats(64), 40, 1)),
                                              ("two_barriers<float>", (floats(64),))])
def test_a_barrier_that_some_never_reach_is_an_error(launch, kernel, args):
    with pytest.raises(AssertionError, match="threads wait for others that ended or wait elsewhere: 0 "):
        launch(kernel, (1,), (64,), *args)
    y = floats(64)
    launch("some_wait<float>", (1,), (64,), y, 64, 0)  # and the next launch starts again
    assert (y == 1).all()


@pytest.mark.parametrize("i", [-1, 5, 16])
def test_writing_outside_an_array_is_an_error(launch, i):
    with pytest.raises(AssertionError, match=r"written outside an array of \(5,\) float32"):
        launch("write<float>", (1,), (1,), floats(1), floats(5), i)


def test_shared_memory_holds_nans_and_ends_where_it_was_asked_for(launch):
    y = floats(1)
    launch("write_shared<float>", (1,), (1,), y, 99, shared=100)
    assert y[0] == 1
    with pytest.raises(AssertionError, match="written behind the 100 bytes of dynamic shared memory"):
        launch("write_shared<float>", (1,), (1,), y, 100, shared=100)


def test_arguments_are_those_of_the_kernel(launch):
    x, y = floats(4), floats(4)
    frozen = y.copy()
    frozen.flags.writeable = False
    for args, why in [((x, y), "2 arguments for 3 parameters"),
                      ((x, y, 1.0), "argument 2 is double, expected long long"),
                      ((x, y.astype(np.float64), 1), r"argument 1 is float64\*, expected float32\*"),
                      ((x, frozen, 1), "written to a read-only array"), ((x, y[::2], 1), "not C-ordered"),
                      ((x, "y", 1), "str as an argument")]:
        with pytest.raises(AssertionError, match=why):
            launch("write<float>", (1,), (1,), *args)
    for grid, block in [((0,), (1,)), ((1, 2**16), (1,)), ((1,), (1025,)), ((1,), (0,))]:
        with pytest.raises(AssertionError, match=r"grid|block"):
            launch("write<float>", grid, block, x, y, 1)
    launch("write<float>", (1,), (1,), frozen, y, 2)
    assert y[2] == frozen[0]


def test_what_does_not_compile_is_told(launch):
    with pytest.raises(AssertionError, match=r"g\+\+:[\s\S]*error: .nonsense. was not declared"):
        launch("nonsense<float>", (1,), (1,))


def test_lanes_of_a_warp(launch):
    x = floats(64) ** 2
    xored, down, up, first, total = (np.empty_like(x) for _ in range(5))
    launch("lanes<float>", (1,), (64,), x, xored, down, up, first, total)
    i = np.arange(64)
    assert np.array_equal(xored, x[i ^ 5])
    assert np.array_equal(down, x[np.where(i % 8 < 4, i + 4, i)])
    assert np.array_equal(up, x[np.where(i % 32 >= 3, i - 3, i)])
    assert np.array_equal(first, x[i // 16 * 16 + 1])
    assert np.array_equal(total, np.full(64, x.sum() + x.max()))
    with pytest.raises(AssertionError, match="warps are not whole: 48 threads"):
        launch("lanes<float>", (1,), (48,), x, xored, down, up, first, total)


def test_places_in_block_and_grid(launch):
    y = np.empty((2, 3, 4, 5), np.float32)  # blocks y, x; threads y, x
    launch("places<float>", (3, 2), (5, 4), y)
    expected = sum(f * i for f, i in zip((1000, 100, 10, 1), np.indices(y.shape), strict=True))
    assert np.array_equal(y, expected)


def test_threads_run_in_changing_order(launch):
    y, seen = np.zeros(1, np.int64), []
    for order in range(5):
        with in_order(order):
            launch("last<float>", (1,), (64,), y)
        seen.append(int(y[0]))
    assert seen[:2] == [63, 0]
    assert len(set(seen[2:])) > 1


def test_a_list_of_arrays_is_a_table_of_pointers(launch):
    rows, added = [floats(4), 10 * floats(4)], [floats(4) + 1, floats(4) + 2]
    launch("table<float>", (2,), (4,), rows, added, 2.0)
    assert np.array_equal(rows, [[2, 5, 8, 11], [4, 16, 28, 40]])


def test_views_of_one_array_share_its_memory(launch):
    x = floats(8)
    launch("write<float>", (1,), (1,), x[3:4], x[5:], 1)
    assert np.array_equal(x, [0, 1, 2, 3, 4, 5, 3, 7])


@pytest.mark.parametrize(("kind", "dtype"), [("__half", np.float16), ("__nv_bfloat16", ml_dtypes.bfloat16)])
def test_halves_are_rounded_to_nearest_even(launch, kind, dtype):
    every = np.arange(2**16, dtype=np.uint16).view(dtype)
    with np.errstate(all="ignore"):
        exact = every.astype(np.float32)
        middles = np.concatenate([(exact + np.roll(exact, -1)) / 2, exact * np.float32(1.0003), exact])
        expected = middles.astype(dtype)
    wide, y = np.empty_like(exact), np.empty_like(expected)
    for i in range(0, 2**16, 1024):
        launch(f"widened<{kind}>", (1,), (1024,), every[i:i + 1024], wide[i:i + 1024])
    for i in range(0, len(y), 1024):
        launch(f"rounded<{kind}>", (1,), (1024,), middles[i:i + 1024], y[i:i + 1024])
    assert np.array_equal(wide, exact, equal_nan=True)
    numbers = ~np.isnan(expected)
    assert np.array_equal(y.view(np.uint16)[numbers], expected.view(np.uint16)[numbers])
    assert np.isnan(y[~numbers]).all()


def test_the_backend_is_the_strict_one_with_kernels():
    emulated, strict = get_backend("emulated"), get_backend("strict")
    assert emulated.launch is cuda_on_cpu.launch
    assert strict.launch is None
    assert emulated.array_type is not strict.array_type
