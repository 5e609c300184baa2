import numpy as np
import pytest

from tinygrad_gpt import Tensor, ops
from tinygrad_gpt.backend.precision import precision
from tinygrad_gpt.errors import CheckpointError, NonFiniteError
from tinygrad_gpt.optim import AdamW
from tinygrad_gpt.train import LossScale, loss_scale, train_step


def leaf(*values):
    return Tensor(np.array(values, np.float32), requires_grad=True)


def linear_loss(p, factor):
    """() in float32 of which the gradient, factor, goes through float16."""
    return (p.astype(np.float16) * factor).astype(np.float32).sum()


def test_it_is_halved_by_a_bad_step_and_doubled_by_2000_good_ones():
    scale = LossScale()
    assert scale.value == 65536
    for _ in range(1999):
        scale.grow()
    assert (scale.value, scale.good_steps) == (65536, 1999)
    assert scale.shrink()
    assert (scale.value, scale.good_steps) == (32768, 0)
    for _ in range(2000):
        scale.grow()
    assert (scale.value, scale.good_steps) == (65536, 0)


def test_its_course_is_that_of_torch(monkeypatch):
    torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")
    monkeypatch.setattr(loss_scale, "GROWTH", 3)
    ours, theirs = LossScale(64.0), torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=3)
    p = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([p], lr=0.1)
    for good in [True, True, False, True, True, True, True, False, False, True, True, True, True, True, True, True]:
        theirs.scale((p * (1.0 if good else torch.inf)).sum()).backward()
        theirs.step(optimizer)
        theirs.update()
        optimizer.zero_grad()
        if good:
            ours.grow()
        else:
            assert ours.shrink()
        assert ours.value == theirs.get_scale()


def test_below_one_it_gives_up():
    scale = LossScale(2.0)
    assert scale.shrink()
    assert not scale.shrink()


def test_a_state_is_gone_on_from():
    scale, other = LossScale(), LossScale()
    scale.shrink()
    scale.grow()
    other.load_state_dict(scale.state_dict())
    assert (other.value, other.good_steps) == (32768, 1)
    with pytest.raises(CheckpointError, match="lacks good_steps; was it saved in another precision"):
        other.load_state_dict({"value": np.array(1.0)})


@pytest.mark.parametrize("value", [1.0, 64.0, 2.0**16])
def test_a_power_of_two_changes_neither_loss_nor_norm_nor_update(value):
    results = []
    for scale in (None, LossScale(value)):
        p = leaf(0.5, -1.5)
        losses = [lambda p=p: (p * p).sum(), lambda p=p: (p * p * p).sum()]
        figures = train_step(losses, AdamW([p], lr=0.1), 1.0, "here", loss_scale=scale)
        results.append((figures, p.numpy().tobytes(), p.grad.numpy().tobytes()))
    assert results[0][0] == results[1][0]
    assert results[0][1] == results[1][1]
    np.testing.assert_allclose(*(np.frombuffer(grad, np.float32) for *_, grad in results), rtol=1e-6)


def test_what_would_underflow_is_learned_from():
    small = 2.0**-26  # half of the smallest float16
    p, q = leaf(1.0), leaf(1.0)
    train_step([lambda: linear_loss(p, 1.0) * small], AdamW([p]), 1.0, "here")
    train_step([lambda: linear_loss(q, 1.0) * small], AdamW([q]), 1.0, "here", loss_scale=LossScale())
    assert (p.grad.item(), q.grad.item()) == (0.0, small)


def test_an_overflow_halves_the_scale_and_the_same_step_is_run_again():
    p, scale, calls = leaf(1.0, 1.0), LossScale(), []
    optimizer = AdamW([p], lr=0.1)

    def compute():
        calls.append(p.numpy().tobytes())
        return linear_loss(p, 3.0)  # 3 · 65536 and 3 · 32768 are no float16, 3 · 16384 is

    loss, norm = train_step([compute], optimizer, 1e9, "here", loss_scale=scale)
    assert len(calls) == 3
    assert len(set(calls)) == 1
    assert (scale.value, scale.good_steps, optimizer.steps) == (16384, 1, 1)
    assert loss == 6
    assert norm == pytest.approx(3 * 2**0.5)
    np.testing.assert_allclose(p.grad.numpy(), 3.0)  # without the scale


def test_a_loss_that_is_not_finite_is_not_blamed_on_the_scale():
    p, scale = leaf(1.0), LossScale()
    with pytest.raises(NonFiniteError, match=r"^loss is nan \(step 7\)"):
        train_step([lambda: (p * np.nan).sum()], AdamW([p]), 1.0, "step 7", loss_scale=scale)
    assert scale.value == 65536


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_a_gradient_that_no_scale_mends_is_found():
    p, scale = leaf(1.0), LossScale(4.0)
    optimizer = AdamW([p])
    with pytest.raises(NonFiniteError, match=r"^gradient norm is .* nothing was updated; backward, the gradient of 'x' "
                                             "of op 'sqrt'"):
        train_step([lambda: ops.sqrt(p - 1.0).sum()], optimizer, 1.0, "here", loss_scale=scale)
    assert (p.item(), optimizer.steps) == (1.0, 0)


def test_dropout_draws_the_same_masks_when_a_step_is_run_again():
    from tinygrad_gpt.nn import Dropout, Module

    class Model(Module):
        def __init__(self):
            self.drop = Dropout(0.5)

    model, p, seen = Model(), leaf(*[1.0] * 40), []

    def compute():
        y = model.drop(p)
        seen.append(y.numpy().tobytes())
        return linear_loss(y, 2.0)

    with precision("float16"):
        train_step([compute, compute], AdamW([p]), 1.0, "here", model, LossScale())
    assert len(seen) > 2
    assert seen[::2] == seen[:1] * (len(seen) // 2)
    assert seen[1::2] == seen[1:2] * (len(seen) // 2)
    assert seen[0] != seen[1]
