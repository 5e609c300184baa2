"""What OpenBLAS says of itself, and work on several threads."""

import threading

import numpy as np
import pytest

from tinygrad_gpt.backend import blas
from tinygrad_gpt.engine import no_grad
from tinygrad_gpt.engine.mode import current_mode


@pytest.fixture
def two_threads(monkeypatch):
    """A library with two threads, and the numbers to which they are set."""
    numbers = [2]
    library = blas.OpenBLAS("Haswell", lambda: numbers[-1], numbers.append)
    monkeypatch.setattr(blas, "openblas", lambda: library)
    return numbers


def test_the_kernels_of_openblas_have_the_name_that_it_tells():
    threadpoolctl = pytest.importorskip("threadpoolctl", reason="it tells the name too")
    told = [library for library in threadpoolctl.threadpool_info()
            if library["internal_api"] == "openblas" and "numpy" in library["filepath"]]
    found = blas.openblas()
    assert [(library["architecture"], library["num_threads"]) for library in told] == (
        [] if found is None else [(found.core, found.threads())])


def test_another_library_says_nothing(monkeypatch):
    blas.openblas.cache_clear()
    monkeypatch.setattr(blas.ctypes, "CDLL", lambda path: object())
    try:
        assert blas.openblas() is None
        assert blas.in_threads(abs, [-1, -2]) == [1, 2]
    finally:
        blas.openblas.cache_clear()


def test_results_come_in_order_and_products_have_one_thread_meanwhile(two_threads):
    both = threading.Barrier(2, timeout=60)  # passed only by two at a time

    def work(item):
        both.wait()
        return item * 10, two_threads[-1], current_mode().recording

    with no_grad():
        assert blas.in_threads(work, range(6)) == [(item * 10, 1, False) for item in range(6)]
    assert two_threads == [2, 1, 2]


@pytest.mark.parametrize("items", [[], [3]])
def test_one_item_is_computed_here(two_threads, items):
    here = threading.get_ident()
    assert blas.in_threads(lambda item: threading.get_ident(), items) == [here] * len(items)
    assert two_threads == [2]


def test_an_error_ends_the_work_and_gives_the_threads_back(two_threads):
    done = []

    def work(item):
        done.append(item)
        raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match="item 0"):
        blas.in_threads(work, range(1000))
    assert len(done) < 1000
    assert two_threads == [2, 1, 2]


def test_products_of_the_real_library_are_right():
    r = np.random.default_rng(0)
    matrices = [r.standard_normal((200, 200)) for _ in range(8)]
    results = blas.in_threads(lambda a: a @ a.T, matrices)
    assert all(np.allclose(result, a @ a.T, rtol=1e-12) for result, a in zip(results, matrices, strict=True))
