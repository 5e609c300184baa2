"""The CUDA kernels of the ops, run on the CPU: the sweep for ops that have a CUDA body, on the kernels' own text."""

import dataclasses

import cuda_on_cpu
import ml_dtypes
import numpy as np
import pytest
from checks import LIMIT, Call, assert_close, cast, error, is_float, samples
from cuda_on_cpu import in_order

import tinygrad_gpt.ops  # noqa: F401 - fills the registry
from tinygrad_gpt import Tensor, ops
from tinygrad_gpt.backend import default_backend, get_backend, loading, use_backend
from tinygrad_gpt.engine import OPS, using_ops
from tinygrad_gpt.errors import DTypeError
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config, seed_dropout
from tinygrad_gpt.ops.cuda.matmul import sum_rows
from tinygrad_gpt.optim import AdamW
from tinygrad_gpt.study.gradcheck import check_op
from tinygrad_gpt.train.step import train_step

pytestmark = pytest.mark.usefixtures("emulated")

NAMES = sorted(name for name in OPS if OPS[name].cuda)


@pytest.mark.parametrize("name", NAMES)
def test_derivatives(name):
    before = cuda_on_cpu.launches
    assert max(check.error for check in check_op(name)) <= LIMIT
    assert cuda_on_cpu.launches > before


def both(name, arguments, settings):
    """The op by NumPy, and by the kernels, which may not write to its arguments."""
    ours = Call(OPS[name], arguments, settings, backend="emulated")
    assert ours.waits == 0
    use_backend("numpy")
    theirs = Call(OPS[name], arguments, settings)
    use_backend("emulated")
    return ours.values(), theirs.values()


@pytest.mark.parametrize(("dtype", "limit"), [(np.float64, 1e-13), (np.float32, 1e-5)])
@pytest.mark.parametrize("name", NAMES)
def test_values_are_numpys(name, dtype, limit):
    for arguments, settings in samples(OPS[name], 5):
        ours, theirs = both(name, [cast(a, dtype) for a in arguments], settings)
        assert all(value.dtype == dtype for value in ours)
        assert_close(ours, theirs, limit)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("name", [name for name in NAMES if "attention" not in name])  # see test_attention_kernels.py
def test_halves_are_rounded_once_or_twice(name, dtype):
    step = float(ml_dtypes.finfo(dtype).eps)
    for arguments, settings in samples(OPS[name], 5):
        ours, theirs = both(name, [a.astype(dtype) if is_float(a) else a for a in arguments], settings)
        for value, expected in zip(ours, theirs, strict=True):
            assert value.dtype == expected.dtype
            assert error(value.astype(np.float64), expected.astype(np.float64)) <= 2 * step


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_threads_changes_no_bit(name):
    for arguments, settings in samples(OPS[name], 6):
        results = []
        for order in range(4):
            with in_order(order):
                call = Call(OPS[name], [cast(a, np.float32) for a in arguments], settings, backend="emulated")
            results.append([value.tobytes() for value in call.values()])
        assert results[1:] == results[:-1]


@pytest.mark.parametrize("name", NAMES)
def test_views_and_empty_arrays(name):
    """Arguments and cotangents that are no C-ordered arrays; no rows."""
    for arguments, settings in samples(OPS[name], 7):
        turned = [np.asfortranarray(a) if isinstance(a, np.ndarray) else a for a in arguments]
        expected = Call(OPS[name], arguments, settings, backend="emulated")
        cotangent = expected.backend.to_numpy(expected.cotangent)
        cotangent = np.asfortranarray(cotangent) if cotangent.ndim else cotangent
        call = Call(OPS[name], turned, settings, backend="emulated", cotangent=cotangent)
        assert_close(call.values(), expected.values(), 1e-13)
    for name, arguments in {"layer_norm": [np.ones((0, 4)), np.ones(4), np.ones(4)], "gelu": [np.ones((0, 3))],
                            "bias_gelu": [np.ones((0, 3)), np.ones(3)], "softmax": [np.ones((0, 3))],
                            "embedding": [np.ones((5, 3)), np.zeros(0, int)]}.items():
        assert_close(*both(name, arguments, {}), 0)


@pytest.mark.parametrize("rows", [0, 1, 300])
def test_sums_of_rows_are_numpys(rows, emulated):
    a = np.random.default_rng(0).standard_normal((rows, 70))
    for dtype, limit in ((np.float64, 1e-13), (np.float32, 1e-6), (np.float16, 1e-3), (ml_dtypes.bfloat16, 8e-3)):
        total = sum_rows(emulated.xp, emulated.from_numpy(a.astype(dtype)))
        assert total.dtype == dtype
        assert error(emulated.to_numpy(total).astype(float), a.astype(dtype).astype(float).sum(axis=0)) <= limit


def test_masks_are_numpys():
    for seed in (0, 7, 2**33 + 5, 2**64 - 1):
        ours = ops.keep_mask(get_backend("emulated"), seed, (70, 9), 0.1)
        with using_ops("plain"):
            plain = ops.keep_mask(get_backend("numpy"), seed, (70, 9), 0.1)
        assert np.array_equal(get_backend("emulated").to_numpy(ours), plain)
        assert np.array_equal(ops.keep_mask(get_backend("numpy"), seed, (70, 9), 0.1), plain)


def test_rows_of_more_logits_than_one_chunk(monkeypatch):
    monkeypatch.setitem(OPS["linear_cross_entropy"].cuda.function.__globals__, "DEVICE_LOGITS", 128 * 3)
    r = np.random.default_rng(0)
    arguments = [r.standard_normal((2, 4, 6)), r.standard_normal((70, 6)), r.integers(0, 70, (2, 4))]
    assert_close(*both("linear_cross_entropy", arguments, {}), 1e-13)


def test_gradients_of_half_logits_keep_their_digits():
    """Of 200 rows and 1,000 classes they are some 5e-6, of which float16 has two digits, before the scale of 1024."""
    r = np.random.default_rng(0)
    x, weight = (r.standard_normal(shape).astype(np.float16) for shape in ((200, 4), (1000, 4)))
    x[1:] = 0
    results = []
    for dtype in (np.float16, np.float64):
        call = Call(OPS["linear_cross_entropy"], [x.astype(dtype), weight.astype(dtype), np.zeros(200, int)], {},
                    backend="emulated", cotangent=np.array(1024.0, np.float32 if dtype == np.float16 else dtype))
        results.append(call.grads[1].numpy()[1:].astype(np.float64))
    np.testing.assert_allclose(*results, rtol=5e-3)


def test_gradients_of_equal_ids_are_added_atomically_where_that_is_wanted(monkeypatch, emulated):
    weight, ids = np.random.default_rng(0).standard_normal((5, 300)), np.array([[1, 4, 1], [0, 1, 4]])
    expected = Call(OPS["embedding"], [weight, ids], {}, backend="emulated").values()
    monkeypatch.setitem(loading._by_type, emulated.array_type, dataclasses.replace(emulated, deterministic=False))
    for dtype, limit in ((np.float64, 1e-13), (np.float32, 1e-6), (np.float16, 2e-3)):
        call = Call(OPS["embedding"], [weight.astype(dtype), ids], {}, backend="emulated")
        assert call.grads[0].dtype == dtype
        assert_close([v.astype(np.float64) for v in call.values()], expected, limit)


def test_a_kernel_for_another_type_is_refused():
    x = Tensor(np.ones(3, complex), backend="emulated")
    with pytest.raises(DTypeError, match=r"kernel 'gelu': none for complex128; use one of float32, float64, float16"):
        ops.gelu(x)


def training_steps(backend):
    """Losses of three steps of GPT-2, and the launches of kernels of the last."""
    use_backend(backend)
    model = GPT2(GPT2Config(50, n_ctx=8, n_embd=16, n_layer=2, n_head=2, dropout=0.1), seed=1)
    optimizer, losses = AdamW(model.parameters(), lr=0.01), []
    ids, targets = (default_backend().from_numpy(np.random.default_rng(i).integers(0, 50, (2, 8))) for i in range(2))
    for step in range(3):
        seed_dropout(model, 3, step)
        before = cuda_on_cpu.launches
        losses.append(train_step([lambda: model.loss(ids, targets)], optimizer, 1.0, "here")[0])
    return losses, cuda_on_cpu.launches - before


def test_a_training_step_of_gpt2_is_numpys():
    losses, launches = training_steps("emulated")
    expected, none = training_steps("numpy")
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert expected[2] < expected[0]
    assert none == 0
    assert launches <= 80, "a few for each op"
