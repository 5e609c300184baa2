"""A value that is not finite: the error names direction, op, module, line and data rows."""

import inspect
import math
import re

import numpy as np
import pytest

from tinygrad_gpt import ops
from tinygrad_gpt.backend import default_backend
from tinygrad_gpt.engine import Op, Tensor, no_grad
from tinygrad_gpt.errors import NonFiniteError
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config, seed_dropout
from tinygrad_gpt.nn import layers
from tinygrad_gpt.optim import AdamW
from tinygrad_gpt.train import train_step

CONFIG = GPT2Config(vocab_size=31, n_ctx=8, n_embd=16, n_layer=3, n_head=2, dropout=0.1)
IDS, TARGETS = np.random.default_rng(0).integers(0, 30, (2, 4, 8))
IDS[IDS == 7] = 6
LINES = inspect.getsource(layers).splitlines()

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def step(model, parts=1, change=lambda x: x, max_norm=1.0):
    """A step on IDS; the message of its error, after a check that nothing was updated."""
    optimizer = AdamW(model.trainable())
    seed_dropout(model.train(), 3, 0)
    ids, targets = map(default_backend().from_numpy, (IDS, TARGETS))
    before = [p.numpy().copy() for p in model.parameters()]
    rows = [slice(i * 4 // parts, (i + 1) * 4 // parts) for i in range(parts)]
    with pytest.raises(NonFiniteError) as caught:
        train_step([lambda r=r: ops.cross_entropy(change(model(ids[r])), targets[r]) for r in rows], optimizer,
                   max_norm, "step 7", model)
    assert optimizer.steps == 0
    assert all(np.array_equal(a, p.numpy(), equal_nan=True) for a, p in zip(before, model.parameters(), strict=True))
    assert all(p.grad is None for p in model.parameters())
    assert caught.value.exit_code == 3
    text = str(caught.value)
    assert "\n" not in text
    assert "(step 7): nothing was updated; " in text
    assert text.endswith("; lower the learning rate, or look for bad values in the data")
    return text


def poison(parameter, index, value=math.nan):
    with no_grad():
        parameter[index] = value


def source_of(text):
    number = int(re.search(r"tinygrad_gpt/nn/layers\.py:(\d+)", text)[1])
    return LINES[number - 1].strip()


@pytest.mark.parametrize("recompute", [False, True])
def test_a_bad_weight_is_named_with_op_module_line_and_rows(backend, recompute):
    model = GPT2(CONFIG)
    model.recompute = recompute
    poison(model.h[1].mlp.c_fc.weight, (3, 5))
    text = step(model)
    assert text.startswith("loss is nan (step 7)")
    assert "forward, op 'linear' in h.1.mlp.c_fc (tinygrad_gpt/nn/layers.py:" in text
    assert "is the first to give nan, because h.1.mlp.c_fc.weight holds nan, in data rows 1-4 of 4; " in text
    assert source_of(text) == "return ops.linear(to_compute(x), to_compute(self.weight))"


def test_a_frozen_weight_too():
    model = GPT2(CONFIG)
    poison(model.h[0].ln_1.weight, 2, math.inf)
    model.h[0].freeze()
    text = step(model)
    assert "forward, op 'layer_norm' in h.0.ln_1 (" in text
    assert "because h.0.ln_1.weight holds inf" in text
    assert source_of(text) == "return ops.layer_norm(x, self.weight, self.bias, eps=self.eps)"


def test_bad_rows_of_the_data_are_named():
    model = GPT2(CONFIG)
    poison(model.wte.weight, 30)  # a token that stands in two rows only
    before = IDS[1, 2], IDS[3, 0]
    IDS[1, 2] = IDS[3, 0] = 30
    try:
        assert ("forward, op 'embedding' in wte (" in (text := step(model)))
        assert "because wte.weight holds nan, in data rows 2, 4 of 4; " in text
        assert "in data rows 2 of 2 of micro-batch 1; " in step(model, parts=2)
    finally:
        IDS[1, 2], IDS[3, 0] = before


@pytest.mark.parametrize("recompute", [False, True])
def test_an_overflow_in_backward_only(recompute, monkeypatch):
    def exploding(xp, x):
        def grad_x(g):
            scale = xp.ones_like(g)
            scale[2] = math.inf
            return g * scale

        return x + 0.0, (grad_x,)

    exploding, gelu = Op(exploding), ops.gelu
    model = GPT2(CONFIG)
    model.recompute = recompute
    fc = model.h[2].mlp.c_fc

    class Chosen(type(model.h[2].mlp)):
        def forward(self, x):
            return self.c_proj(gelu(exploding(self.c_fc(x))))

    model.h[2].mlp.__class__ = Chosen
    assert model.h[2].mlp.c_fc is fc
    text = step(model)
    assert text.startswith("gradient norm is nan (step 7)") or text.startswith("gradient norm is inf (step 7)")
    assert "backward, the gradient of 'x' of op 'exploding' in h.2.mlp (test_nonfinite.py:" in text
    number = int(re.search(r"test_nonfinite\.py:(\d+)", text)[1])
    with open(__file__) as file:
        assert file.read().splitlines()[number - 1].strip() == "return self.c_proj(gelu(exploding(self.c_fc(x))))"
    assert ", in data rows 3 of 4; " in text


def zero_with_gradient(x, g):
    """0, whose gradient with respect to x is g everywhere."""
    return ((x - x.detach()) * np.float32(g)).sum()


def ones(*shape):
    return Tensor(np.ones(shape, np.float32), requires_grad=True)


def test_the_gradient_of_a_weight_has_no_data_rows():
    w, x = ones(2, 2), np.ones((2, 2), np.float32)
    with pytest.raises(NonFiniteError, match=r"backward, the gradient of 'b' of op 'matmul' \(test_nonfinite\.py:\d+\) "
                                             "is the first to be inf; lower"):
        train_step([lambda: zero_with_gradient(x @ w, 3e38)], AdamW([w]), 1.0, "here")


def test_sums_of_gradients_are_looked_at():
    p = ones(2)

    def twice():
        z = p * 1.0
        return zero_with_gradient(z, 3e38) + zero_with_gradient(z, 3e38)

    with pytest.raises(NonFiniteError, match="backward, the sum of the gradients of the result of op 'mul'"):
        train_step([twice], AdamW([p]), 1.0, "here")
    with pytest.raises(NonFiniteError, match="the gradients of each op are finite, but the micro-batches' sum is not; "
                                             "the largest is inf, of parameter 2;"):
        train_step([lambda: zero_with_gradient(p, 6e38 / 2) * 2.0] * 2, AdamW([ones(3), p]), 1.0, "here")
    with pytest.raises(NonFiniteError, match=r"but the sum of their squares overflows; the largest is 1e\+25, of "
                                             "parameter 1;"):
        train_step([lambda: zero_with_gradient(p, 1e25)], AdamW([p]), 1.0, "here")


def test_a_fault_that_does_not_come_back_is_said_so():
    model, calls = GPT2(CONFIG), []

    def once(x):
        calls.append(1)
        return x * math.nan if len(calls) == 1 else x

    text = step(model, change=once)
    assert text.startswith("loss is nan (step 7): nothing was updated; the step, run again, is finite: the fault was "
                           "a passing one")
    assert len(calls) == 2


def test_the_second_run_draws_the_same_masks():
    model, seen = GPT2(CONFIG), []

    def keep(x):
        seen.append(x.numpy().copy())
        return x * math.inf

    step(model, change=keep)
    assert len(seen) == 2
    assert seen[0].tobytes() == seen[1].tobytes()


def test_a_finite_step_runs_once():
    model, calls = GPT2(CONFIG), []

    def loss():
        calls.append(1)
        return ops.cross_entropy(model(IDS), TARGETS)

    train_step([loss, loss], AdamW(model.parameters()), 1.0, "here", model)
    assert len(calls) == 2
