import math

import numpy as np
import pytest

from tinygrad_gpt import Tensor, ops
from tinygrad_gpt.engine.tape import Node
from tinygrad_gpt.errors import NonFiniteError, ResourceError
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.optim import AdamW
from tinygrad_gpt.train import train_step


def leaf(*values):
    return Tensor(np.array(values), requires_grad=True)


def model_in_float64():
    model = GPT2(GPT2Config(vocab_size=17, n_ctx=8, n_embd=8, n_layer=2, n_head=2))
    for p in model.parameters():
        p.data = p.numpy().astype(np.float64)
    return model


def test_micro_batches_are_one_big_batch():
    ids, targets = np.random.default_rng(0).integers(0, 17, (2, 6, 8))
    results = []
    for parts in (1, 2, 3, 6):
        model = model_in_float64()
        optimizer = AdamW(model.parameters(), lr=0.01)

        def loss(some_ids, some_targets, model=model):
            return ops.cross_entropy(model(some_ids), some_targets)

        for _ in range(3):
            figures = train_step([lambda i=i, t=t, loss=loss: loss(i, t) for i, t in
                                  zip(np.split(ids, parts), np.split(targets, parts), strict=True)],
                                 optimizer, max_norm=0.5, where="here")
        results.append((figures, model.arrays()))
    for figures, state in results[1:]:
        assert figures == pytest.approx(results[0][0], rel=1e-12)
        for name, array in state.items():
            np.testing.assert_allclose(array, results[0][1][name], rtol=1e-7, atol=1e-9, err_msg=name)


def test_each_loss_is_computed_only_when_its_turn_comes():
    p, events = leaf(1.0, 2.0), []

    def compute(i):
        events.append((i, p.grad is not None))
        return (p * p).sum()

    train_step([lambda i=i: compute(i) for i in range(3)], AdamW([p]), 1.0, "here")
    assert events == [(0, False), (1, True), (2, True)]  # the backward of one comes before the forward of the next


def test_it_returns_the_mean_loss_and_the_norm_before_clipping():
    p = leaf(3.0, 4.0)
    loss, norm = train_step([lambda: (p * p).sum() * 0.5, lambda: (p * p).sum() * 0.5 + 1.0], AdamW([p]), 1.0, "here")
    assert loss == 13.0
    assert norm == 5.0
    np.testing.assert_allclose(p.grad.numpy(), [0.6, 0.8], rtol=1e-6)  # left in place, clipped


def test_old_gradients_are_forgotten():
    p = leaf(3.0, 4.0)
    p.grad = Tensor(np.array([100.0, 100.0]))
    assert train_step([lambda: (p * p).sum() * 0.5], AdamW([p]), 1.0, "here")[1] == 5.0


def nan_loss(p):
    return (p * math.nan).sum()


def infinite_loss(p):
    return (p * math.inf).sum()


def finite_loss_infinite_gradient(p):
    return ops.sqrt(p - p.numpy()).sum()


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
@pytest.mark.parametrize(("bad", "text"), [
    (nan_loss, "loss is nan (step 7): nothing was updated; forward, op 'mul' (test_step.py:"),
    (infinite_loss, "loss is inf (step 7): nothing was updated"),
    (finite_loss_infinite_gradient, "gradient norm is inf (step 7): nothing was updated")])
def test_a_loss_or_gradient_that_is_not_finite_updates_nothing(bad, text):
    p, q = leaf(1.0, 2.0), Tensor(np.ones((2, 2)), requires_grad=True)
    optimizer = AdamW([p, q], lr=0.1)
    train_step([lambda: (p * p).sum() + (q * q).sum()], optimizer, 1.0, "step 6")
    before = [p.numpy().copy(), q.numpy().copy(), *(a.copy() for a in optimizer.arrays().values())]
    with pytest.raises(NonFiniteError) as error:
        train_step([lambda: (p * p).sum() + (q * q).sum(), lambda: bad(p)], optimizer, 1.0, "step 7")
    assert str(error.value).startswith(text)
    after = [p.numpy(), q.numpy(), *optimizer.arrays().values()]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    train_step([lambda: (p * p).sum()], optimizer, 1.0, "step 7")  # and a good step goes on from there
    assert optimizer.steps == 2


def test_out_of_memory_at_any_op_updates_nothing(monkeypatch):
    model = model_in_float64()
    optimizer = AdamW(model.parameters(), lr=0.1)
    ids = np.zeros((2, 4), int)

    def loss():
        return ops.cross_entropy(model(ids), ids)

    def state():
        return b"".join(a.tobytes() for a in (*model.arrays().values(), *optimizer.arrays().values()))

    calls, last, pull = [], 0, Node.pull

    def pull_until(node, g):
        calls.append(node)
        if len(calls) == last:
            raise MemoryError
        return pull(node, g)

    monkeypatch.setattr(Node, "pull", pull_until)
    train_step([loss, loss], optimizer, 1.0, "here")
    before, n_calls = state(), len(calls)
    assert n_calls > 40
    for last in range(1, n_calls + 1, 5):
        calls.clear()
        with pytest.raises(ResourceError, match=r"^out of memory \(here\): nothing was updated; an allocation "):
            train_step([loss, loss], optimizer, 1.0, "here")
        assert len(calls) == last
        assert state() == before
