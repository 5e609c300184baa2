"""Matrix products of few rows in pieces, beside the same in float64."""

import numpy as np
import pytest

from tinygrad_gpt.backend import few_rows, get_backend
from tinygrad_gpt.backend.blas import OpenBLAS

TOLERANCE = 2e-5  # of results of about 1


@pytest.fixture(params=[False, True], ids=["copying", "small kernels"])
def small_kernels(request, monkeypatch):
    """Both kinds of BLAS: the products are right on each, only their time differs."""
    monkeypatch.setattr(few_rows, "_small_kernels", lambda: request.param)


@pytest.mark.usefixtures("small_kernels")
@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("n", [2, 3, 4, 5, 7, 8, 13, 16, 17, 64])
@pytest.mark.parametrize(("k", "m"), [(1, 1), (30, 20), (770, 1100), (1700, 200), (300, 2060)])
def test_each_piece_is_in_its_place(n, k, m, order):
    r = np.random.default_rng(n)
    a = r.standard_normal((n, k), np.float32)
    b = np.asarray(r.standard_normal((k, m), np.float32) / np.sqrt(k), dtype=np.float32, order=order)
    y = few_rows.few_rows(a, b)
    assert y.dtype == np.float32
    assert y.flags.c_contiguous
    assert np.allclose(y, a.astype(np.float64) @ b, rtol=0, atol=TOLERANCE)
    assert y.tobytes() == few_rows.few_rows(a, b).tobytes()


@pytest.mark.usefixtures("small_kernels")
@pytest.mark.parametrize("n", [2, 8, 64])
def test_any_layout_of_the_rows_and_any_part_of_a_matrix(n):
    r = np.random.default_rng(0)
    a = r.standard_normal((2000, 2 * n), np.float32)[::2, ::2].T  # (n, 1000)
    wide, tall = (r.standard_normal(shape, np.float32) / 32 for shape in ((1000, 3000), (3000, 2000)))
    for b in (wide[:, 5::2], tall[::2, ::2].T):
        assert np.allclose(few_rows.few_rows(a, b), a.astype(np.float64) @ b, rtol=0, atol=TOLERANCE)


@pytest.mark.usefixtures("small_kernels")
@pytest.mark.parametrize("n", [2, 8, 64])
@pytest.mark.parametrize(("k", "m"), [(0, 3), (3, 0)])
def test_an_axis_without_numbers(n, k, m):
    y = few_rows.few_rows(np.zeros((n, k), np.float32), np.zeros((m, k), np.float32).T)
    assert y.shape == (n, m)
    assert not y.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_the_product_of_the_backend_takes_every_dtype(dtype):
    a, b = (np.arange(n).reshape(shape).astype(dtype) for n, shape in ((6, (2, 3)), (12, (3, 4))))
    y = get_backend("numpy").bmm(a, b)
    assert y.dtype == dtype
    assert np.array_equal(y, [[20, 23, 26, 29], [56, 68, 80, 92]])


@pytest.mark.parametrize(("core", "threads", "expected"), [
    ("SkylakeX", 1, True), ("SkylakeX", 2, False), ("Haswell", 1, False)])
def test_small_kernels_need_avx512_and_one_thread(monkeypatch, core, threads, expected):
    monkeypatch.setattr(few_rows, "openblas", lambda: OpenBLAS(core, lambda: threads, print))
    assert few_rows._small_kernels() == expected


def test_without_openblas_there_are_no_small_kernels(monkeypatch):
    monkeypatch.setattr(few_rows, "openblas", lambda: None)
    assert not few_rows._small_kernels()
