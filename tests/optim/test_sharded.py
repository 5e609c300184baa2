"""AdamW spread over ranks makes the steps of AdamW, and its checkpoints, in a part of the memory."""

import numpy as np
import pytest
from thread_group import in_ranks

from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import CheckpointError
from tinygrad_gpt.optim import AdamW, ShardedAdamW

SHAPES = [(5, 3), (7,), (1,), ()]


def parameters():
    r = np.random.default_rng(0)
    return [Tensor(r.standard_normal(shape).astype(np.float32), requires_grad=True) for shape in SHAPES]


def step(optimizer, number):
    r = np.random.default_rng([1, number])
    for i, p in enumerate(optimizer.parameters):
        g = r.standard_normal(p.shape).astype(np.float32)
        p.grad = None if (i, number) == (1, 2) else Tensor(g)
    optimizer.lr = 0.1 / (1 + number)
    optimizer.step()


def steps(optimizer, numbers):
    for number in numbers:
        step(optimizer, number)
    return optimizer


def whole():
    return AdamW([{"params": parameters()[:2]}, {"params": parameters()[2:], "weight_decay": 0.3}], betas=(0.8, 0.9),
                 decayed_axes=2)


def test_weights_and_checkpoints_are_the_bits_of_adamw():
    expected = steps(whole(), range(4))

    def work(group):
        optimizer = steps(ShardedAdamW(whole(), group), range(4))
        return [p.numpy().tobytes() for p in optimizer.parameters], optimizer.arrays(), sum(
            m.size + v.size for m, v in optimizer.moments)

    found = in_ranks(3, work)
    for weights, _, _ in found:
        assert weights == [p.numpy().tobytes() for p in expected.parameters]
    state = expected.arrays()
    assert {name: array.tobytes() for name, array in found[0][1].items()} == {
        name: array.tobytes() for name, array in state.items()}
    assert sum(kept for *_, kept in found) == sum(m.size + v.size for m, v in expected.moments)
    assert max(kept for *_, kept in found) <= 2 * sum(-(-int(np.prod(shape)) // 3) for shape in SHAPES)


def test_a_checkpoint_of_any_number_of_ranks_goes_on_in_any_other():
    expected = steps(whole(), range(5))

    def begin(group):
        optimizer = steps(ShardedAdamW(whole(), group), range(3))
        return optimizer.arrays(), [p.numpy().copy() for p in optimizer.parameters]

    state, weights = in_ranks(2, begin)[0]

    def go_on(group):
        optimizer = ShardedAdamW(whole(), group)
        for p, values in zip(optimizer.parameters, weights, strict=True):
            p.data[...] = values
        optimizer.load_arrays(state)
        steps(optimizer, range(3, 5))
        return [p.numpy().tobytes() for p in optimizer.parameters]

    assert in_ranks(3, go_on) == [[p.numpy().tobytes() for p in expected.parameters]] * 3


def test_a_state_that_does_not_fit_is_refused():
    def work(group):
        optimizer = ShardedAdamW(whole(), group)
        state = optimizer.arrays()
        with pytest.raises(CheckpointError, match=r"m\.1 is \(6,\), expected \(7,\)"):
            optimizer.load_arrays(state | {"m.1": np.zeros(6, np.float32)})
        return True

    assert in_ranks(2, work) == [True, True]
