import itertools

import fake_cublas
import ml_dtypes
import numpy as np
import pytest
import strict

from tinygrad_gpt.backend.cublas import cublas_product
from tinygrad_gpt.backend.numpy import tf32
from tinygrad_gpt.backend.precision import precision

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
product = cublas_product(strict.xp, fake_cublas)


def normal(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def on_gpu(a):
    """A strict array that shows the memory of `a`, strides and all."""
    return strict.Array(a)


def calls_of(a, b):
    """The product by cuBLAS, and the arguments of each call."""
    fake_cublas.calls.clear()
    y = product(on_gpu(a), on_gpu(b)).memory
    return y, list(fake_cublas.calls)


VIEWS = {  # of an array of this shape: the same values, laid out otherwise
    "C order": np.ascontiguousarray,
    "transposed": lambda a: np.ascontiguousarray(a.swapaxes(-1, -2)).swapaxes(-1, -2),
    "columns of a wider array": lambda a: np.concatenate([a, a], axis=-1)[..., :a.shape[-1]],
    "every other column": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "rows backwards": lambda a: np.ascontiguousarray(a[..., ::-1, :])[..., ::-1, :],
    "batch axes swapped": lambda a: np.ascontiguousarray(a.T).T,
}


@pytest.mark.parametrize("view_a", VIEWS)
@pytest.mark.parametrize("view_b", VIEWS)
@pytest.mark.parametrize("shapes", [
    ((3, 4), (4, 5)), ((1, 4), (4, 5)), ((3, 1), (1, 5)), ((3, 4), (4, 1)), ((1, 1), (1, 1)), ((2, 3, 4), (2, 4, 5)),
    ((2, 3, 4), (4, 5)), ((3, 4), (2, 4, 5)), ((2, 1, 3, 4), (3, 4, 5)), ((2, 3, 1, 4), (2, 3, 4, 1)),
    ((1, 3, 4), (1, 4, 5)), ((2, 1, 2, 3, 4), (3, 1, 4, 2))])
def test_products_of_all_layouts_are_numpys(view_a, view_b, shapes):
    a, b = (normal(*shape, seed=i) for i, shape in enumerate(shapes))
    y, _ = calls_of(VIEWS[view_a](a), VIEWS[view_b](b))
    np.testing.assert_allclose(y, a @ b, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("shapes", [((0, 4), (4, 5)), ((3, 0), (0, 5)), ((2, 3, 4), (2, 4, 0)), ((0, 3, 4), (4, 5))])
def test_nothing_to_add_up_is_zero(shapes):
    a, b = (normal(*shape) for shape in shapes)
    y, calls = calls_of(a, b)
    assert np.array_equal(y, a @ b)
    assert calls == []


def test_integers_are_left_to_the_package():
    y, calls = calls_of(np.arange(6).reshape(2, 3), np.arange(6).reshape(3, 2))
    assert y.tolist() == [[10, 13], [28, 40]]
    assert calls == []


def test_the_call_for_a_plain_product():
    a, b = normal(3, 4), normal(4, 5)
    _, (call,) = calls_of(a, b)
    expected = {"transa": 0, "transb": 0, "m": 5, "n": 3, "k": 4, "A": b.ctypes.data, "lda": 5, "B": a.ctypes.data,
                "ldb": 4, "ldc": 5, "batchCount": 1, "Atype": 1, "Btype": 1, "Ctype": 1, "computeType": 70}
    assert {name: call[name] for name in expected} == expected


def test_transposed_factors_are_flags_and_not_copies():
    a, b = normal(4, 3), normal(5, 4)
    _, (call,) = calls_of(a.T, b.T)
    expected = {"transa": 1, "transb": 1, "m": 5, "n": 3, "k": 4, "A": b.ctypes.data, "lda": 4, "B": a.ctypes.data,
                "ldb": 3}
    assert {name: call[name] for name in expected} == expected


def test_heads_of_attention_are_read_where_they_stand():
    batch, length, n_head, size = 2, 5, 3, 4
    q, k, _ = normal(batch, length, 3, n_head, size).transpose(2, 0, 3, 1, 4)  # (B, H, T, D): steps of c_attn's result
    y, calls = calls_of(q, k.swapaxes(-1, -2))
    np.testing.assert_allclose(y, q @ k.swapaxes(-1, -2), rtol=1e-13, atol=1e-13)
    assert len(calls) == batch  # the heads of a text are evenly spaced, the texts are not
    for text, call in enumerate(calls):
        expected = {"transa": 1, "transb": 0, "lda": 3 * n_head * size, "ldb": 3 * n_head * size, "ldc": length,
                    "strideA": size, "strideB": size, "strideC": length**2, "batchCount": n_head,
                    "A": k[text].ctypes.data, "B": q[text].ctypes.data}
        assert {name: call[name] for name in expected} == expected


def test_a_broadcast_factor_is_read_again():
    a, b = normal(6, 3, 4), normal(4, 5)
    _, (call,) = calls_of(a, b)
    expected = {"strideA": 0, "strideB": 12, "strideC": 15, "batchCount": 6}
    assert {name: call[name] for name in expected} == expected


def test_batch_axes_side_by_side_are_one_call():
    assert len(calls_of(normal(2, 3, 4, 5), normal(2, 3, 5, 6))[1]) == 1
    assert len(calls_of(normal(2, 3, 4, 5), normal(1, 1, 5, 6))[1]) == 1
    assert len(calls_of(normal(2, 3, 4, 5), normal(3, 5, 6))[1]) == 2  # read anew for each of 2


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_are_summed_in_float32_and_rounded_once(dtype, backend):
    dtype = np.dtype(dtype)
    ones = np.ones((1, 4096), dtype)
    a, b = normal(8, 64, dtype=dtype), normal(64, 6, dtype=dtype, seed=1)
    for x, w in ((ones, ones.T), (a, b)):  # a sum of halves, one by one, would end at 256 or 2048
        y = backend.to_numpy(backend.bmm(backend.from_numpy(x), backend.from_numpy(w)))
        assert y.dtype == dtype
        assert np.array_equal(y, (x.astype(np.float32) @ w.astype(np.float32)).astype(dtype))


def test_cublas_gets_the_types_of_each_precision():
    seen = {}
    for name, dtype in (("float32", "float32"), ("tf32", "float32"), ("float16", "float16"), ("bfloat16", "bfloat16"),
                        ("tf32", "float64"), ("tf32", "bfloat16")):
        with precision(name):
            _, (call,) = calls_of(normal(2, 3, dtype=np.dtype(dtype)), normal(3, 2, dtype=np.dtype(dtype)))
        seen[name, dtype] = call["Atype"], call["computeType"]
    assert seen == {("float32", "float32"): (0, 68), ("tf32", "float32"): (0, 77), ("float16", "float16"): (2, 68),
                    ("bfloat16", "bfloat16"): (14, 68), ("tf32", "float64"): (1, 70), ("tf32", "bfloat16"): (14, 68)}


def test_tf32_rounds_the_factors_to_ten_bits(backend):
    a, b = normal(5, 7, dtype=np.float32), normal(7, 3, dtype=np.float32)
    exact = backend.to_numpy(backend.bmm(backend.from_numpy(a), backend.from_numpy(b)))
    with precision("tf32"):
        y = backend.to_numpy(backend.bmm(backend.from_numpy(a), backend.from_numpy(b)))
    assert np.array_equal(y, tf32(a) @ tf32(b))
    assert 0 < abs(y - exact).max() < 7 * 2**-10 * abs(a).max() * abs(b).max()


def test_tf32_values():
    step = np.float32(2**-10)
    values = np.array([1, 1 + step, 1 + step / 2, 1 + step * 0.49, -(1 + step / 2), 0, -0.0, np.inf, -np.inf, np.nan,
                       3e38, 1e-38], np.float32)
    expected = [1, 1 + step, 1 + step, 1, -(1 + step), 0, 0, np.inf, -np.inf, np.nan]
    assert np.array_equal(tf32(values)[:10], np.array(expected, np.float32), equal_nan=True)
    assert (abs(tf32(values)[10:] / values[10:] - 1) <= 2**-11).all()


def test_every_call_writes_its_own_result():
    """No address comes twice, none lies outside: memory of `empty` is NaN in the strict arrays."""
    for batch in itertools.product((1, 2, 3), repeat=2):
        y, _ = calls_of(normal(*batch, 3, 4), normal(*batch, 4, 5).swapaxes(0, 1).copy().swapaxes(0, 1))
        assert np.isfinite(y).all()
