"""Adding at indices that repeat, by the kernel, run on the CPU."""

import cuda_on_cpu
import numpy as np
import pytest

from tinygrad_gpt.backend import get_backend
from tinygrad_gpt.engine import Tensor

pytestmark = pytest.mark.skipif(cuda_on_cpu.COMPILER is None, reason="g++ is not installed")

ROWS = np.array([3, 0, 3, -1, 3, 0])
INDICES = {  # of an array (4, 5, 6)
    "rows": ROWS, "rows in a table": ROWS.reshape(2, 3), "int32": ROWS.astype(np.int32), "no rows": ROWS[:0],
    "a column of each": (slice(None), np.array([4, 4, 1])), "places": (ROWS, np.array([1, 2, 1, 0, -4, 2])),
    "of all axes": (ROWS, ROWS, ROWS + 1),
    "behind": (Ellipsis, np.array([5, 5])), "crossed": (ROWS[:, None], np.array([0, 0])), "a slice": slice(1, 3),
    "chosen": np.arange(4) % 2 == 0, "one": 2, "all": Ellipsis}


def bits(function):
    """What the function gives with threads in each order; they have no say in it."""
    results = []
    for order in range(4):
        with cuda_on_cpu.in_order(order):
            results.append(function())
    assert all(result.tobytes() == results[0].tobytes() for result in results)
    return results[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", INDICES)
def test_the_sum_is_numpys_with_the_same_bits_in_any_order(name, dtype):
    r, emulated = np.random.default_rng(0), get_backend("emulated")
    index, start = INDICES[name], r.standard_normal((4, 5, 6)).astype(dtype)
    values = r.standard_normal(start[index].shape).astype(dtype)

    def added():
        target = emulated.from_numpy(start.copy())
        parts = tuple(emulated.from_numpy(part) if isinstance(part, np.ndarray) else part
                      for part in (index if isinstance(index, tuple) else (index,)))
        emulated.index_add(target, parts if isinstance(index, tuple) else parts[0], emulated.from_numpy(values))
        return emulated.to_numpy(target)

    expected = start.astype(np.float64)
    np.add.at(expected, index, values.astype(np.float64))
    np.testing.assert_allclose(bits(added), expected, rtol=0, atol=4 * np.finfo(dtype).eps * 8)


def test_one_value_is_added_everywhere():
    emulated = get_backend("emulated")
    target = emulated.xp.zeros((3, 2), dtype=np.float32)
    emulated.index_add(target, emulated.from_numpy(np.array([1, 1])), emulated.xp.ones((), dtype=np.float32))
    assert emulated.to_numpy(target).tolist() == [[0, 0], [2, 2], [0, 0]]


def test_a_view_is_added_to_in_place():
    emulated = get_backend("emulated")
    whole = emulated.from_numpy(np.ones((2, 3), np.float32))
    emulated.index_add(whole.T, emulated.from_numpy(np.array([2, 2])), emulated.from_numpy(np.ones((2, 2), np.float32)))
    assert emulated.to_numpy(whole).tolist() == [[1, 1, 3], [1, 1, 3]]


@pytest.mark.parametrize("dtype", [np.int32, np.float16, np.complex64])
def test_other_types_are_left_to_the_package(dtype):
    emulated, launches = get_backend("emulated"), cuda_on_cpu.launches
    target = emulated.from_numpy(np.zeros((3, 2), dtype))
    emulated.index_add(target, emulated.from_numpy(np.array([1, 1])), emulated.from_numpy(np.ones((2, 2), dtype)))
    assert emulated.to_numpy(target).tolist() == [[0, 0], [2, 2], [0, 0]]
    assert cuda_on_cpu.launches == launches


def test_the_gradient_of_picked_elements_has_the_same_bits_in_any_order():
    r = np.random.default_rng(1)
    x, weights = r.standard_normal((5, 7)).astype(np.float32), r.standard_normal((400, 7)).astype(np.float32)
    emulated = get_backend("emulated")
    rows = emulated.from_numpy(r.integers(0, 5, 400))

    def gradient():
        table = Tensor(emulated.from_numpy(x), requires_grad=True)
        (table[rows] * Tensor(emulated.from_numpy(weights))).sum().backward()
        return emulated.to_numpy(table.grad.data)

    expected = np.zeros_like(x, np.float64)
    np.add.at(expected, emulated.to_numpy(rows), weights.astype(np.float64))
    np.testing.assert_allclose(bits(gradient), expected, rtol=1e-5, atol=1e-5)
