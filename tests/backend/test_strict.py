"""The stand-in for CuPy refuses what CuPy refuses, and counts what waits."""



import numpy as np
import pytest
import strict

from tinygrad_gpt.backend import (
    get_backend,
)


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
