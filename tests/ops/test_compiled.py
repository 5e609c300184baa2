"""Compiled forms: their rounding in float32, whole steps, the optimiser, and a machine without numba."""

import subprocess
import sys

import numpy as np
import pytest
import tiny

from tinygrad_gpt import Tensor
from tinygrad_gpt.backend import get_backend
from tinygrad_gpt.cli import main
from tinygrad_gpt.engine import OPS, using_ops
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.ops import keep_mask
from tinygrad_gpt.ops.compiled import kernels
from tinygrad_gpt.optim import AdamW

COMPILED = [name for name in OPS if OPS[name].compiled]


def test_these_ops_have_compiled_forms():
    assert COMPILED == ["gelu", "bias_gelu", "gelu_exact", "attention", "self_attention", "linear_cross_entropy",
                        "layer_norm"]


@kernels.kernel
def exponentials(x, y):
    for i in range(len(x)):
        y[i] = kernels._exp(x[i])


def test_exp_in_float32_is_right_to_three_units_in_the_last_place():
    x = np.linspace(-87, 88, 100_003, dtype=np.float32)
    y = np.empty_like(x)
    exponentials(x, y)
    assert np.abs(y / np.exp(x.astype(np.float64)) - 1).max() < 3e-7


def test_exp_of_what_float32_does_not_hold():
    x, y = np.array([-np.inf, -1e30, -88, np.nan, 0], np.float32), np.empty(5, np.float32)
    exponentials(x, y)
    np.testing.assert_array_equal(y, [0, 0, 0, np.nan, 1])


@pytest.mark.parametrize("name", ["gelu", "gelu_exact"])
def test_gelu_in_float32_is_that_of_float64(name):
    x = np.linspace(-30, 30, 60_001)
    with using_ops("plain"):
        exact = OPS[name](Tensor(x, requires_grad=True))
    exact.sum().backward()
    with using_ops("compiled"):
        y = OPS[name](Tensor(x.astype(np.float32), requires_grad=True))
    np.testing.assert_allclose(y.numpy(), exact.numpy(), rtol=1e-6, atol=1e-6)


def losses_of_steps(form, dtype):
    model = tiny.language_model(n_ctx=12).model.to(dtype)
    optimizer = AdamW(model.parameters(), lr=0.01, decayed_axes=2)
    ids = np.random.default_rng(0).integers(0, 20, (3, 13))
    losses = []
    with using_ops(form):
        for _ in range(8):
            optimizer.zero_grad()
            loss = model.loss(ids[:, :-1], ids[:, 1:])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


@pytest.mark.parametrize(("dtype", "limit"), [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_whole_steps_are_those_of_the_fast_forms(dtype, limit):
    np.testing.assert_allclose(losses_of_steps("compiled", dtype), losses_of_steps("fast", dtype), rtol=limit)


def test_a_parameter_in_any_layout_is_updated():
    updated = {}
    for form in ("fast", "compiled"):
        p = Tensor(np.asfortranarray(np.arange(12.0).reshape(3, 4)), requires_grad=True)
        p.grad = Tensor(np.asfortranarray(np.ones((3, 4))))
        optimizer = AdamW([p], lr=0.1)
        with using_ops(form):
            optimizer.step()
        updated[form] = p.numpy()
    np.testing.assert_allclose(updated["compiled"], updated["fast"], rtol=1e-15)


@pytest.mark.parametrize("seed", [1, 2**40 + 17, 2**63 + 5])
@pytest.mark.parametrize("start", [0, 77, 2**33 + 5])
def test_masks_are_the_same_bits(seed, start):
    masks = []
    for form in ("plain", "compiled"):
        with using_ops(form):
            masks.append(keep_mask(get_backend("numpy"), seed, (33, 7), 0.3, start))
    np.testing.assert_array_equal(*masks)


def test_values_that_are_not_finite_stay_so():
    logits = np.zeros((4, 70), np.float32)
    logits[0, 3], logits[1, 69] = np.nan, np.inf
    losses = np.empty(4, np.float32)
    kernels.softmax_minus_target(logits, np.zeros(4, np.int64), np.ones(4, np.float32), losses)
    assert np.isnan(losses[:2]).all()
    np.testing.assert_allclose(losses[2:], np.log(70), rtol=1e-6)


@pytest.fixture
def without_numba(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("tinygrad_gpt.ops.compiled")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("tinygrad_gpt.ops.compiled")
    monkeypatch.setitem(sys.modules, "numba", None)


@pytest.mark.usefixtures("without_numba")
def test_without_numba_the_error_says_what_to_install(capsys):
    with pytest.raises(UsageError, match=r"ops 'compiled' \(numba\): it is not installed; install it with"):
        using_ops("compiled")
    assert main(["gradcheck", "--ops", "compiled"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("error: ops 'compiled' (numba): it is not installed;")


def test_nobody_waits_for_numba_who_does_not_ask_for_it():
    program = ("import sys, numpy as np; from tinygrad_gpt import Tensor; from tinygrad_gpt.ops import gelu; "
               "gelu(Tensor(np.ones(9), requires_grad=True)).sum().backward(); sys.exit('numba' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
