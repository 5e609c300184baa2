"""What each backend's record promises."""



import numpy as np
import pytest
import strict

from tinygrad_gpt import ops
from tinygrad_gpt.backend import (
    default_backend,
    is_integer,
    use_backend,
)
from tinygrad_gpt.engine import Tensor, checking, values_are_checked
from tinygrad_gpt.errors import ShapeError


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


def test_bmm_and_erf(backend):
    r = np.random.default_rng(0)
    a, b = r.standard_normal((2, 3, 4, 5)), r.standard_normal((2, 3, 5, 2))
    product = backend.to_numpy(backend.bmm(backend.from_numpy(a), backend.from_numpy(b)))
    assert np.allclose(product, a @ b, rtol=1e-13)
    x = np.linspace(-3, 3, 7)
    import math

    assert np.allclose(backend.to_numpy(backend.erf(backend.from_numpy(x))), [math.erf(v) for v in x], rtol=1e-14)


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
            keep = ops.keep_mask(default_backend(), 7, x.shape, 0.1)
            loss = ops.cross_entropy(ops.dropout(x, keep, p=0.1) @ table.T, targets, label_smoothing=0.1)
            loss.backward()
        assert strict.synchronisations == before
        assert np.isfinite(loss.item())
        assert strict.synchronisations == before + 1
    finally:
        use_backend("numpy")
