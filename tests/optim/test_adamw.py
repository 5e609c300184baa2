import math

import numpy as np
import pytest

from tinygrad_gpt import Tensor
from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.errors import CheckpointError, UsageError
from tinygrad_gpt.nn.utils import clip_grad_norm_
from tinygrad_gpt.optim import AdamW, warmup_cosine

SHAPES = [(30, 40), (40,), (), (5, 7, 3), (1, 1), (0, 4)]


def leaves(dtype=np.float64, shapes=SHAPES, seed=0):
    r = np.random.default_rng(seed)
    return [Tensor(np.asarray(r.standard_normal(shape)).astype(dtype), requires_grad=True) for shape in shapes]


def set_gradients(parameters, step):
    r = np.random.default_rng((1, step))
    for p in parameters:
        g = np.asarray(r.standard_normal(p.shape)).astype(p.dtype)
        p.grad = Tensor(g, backend=backend_of(p.data).name)


def run(optimizer, steps):
    for step in steps:
        set_gradients(optimizer.parameters, step)
        optimizer.lr = warmup_cosine(step, 100, peak=0.05, warmup=10, initial=0.001, minimum=0.005)
        clip_grad_norm_(optimizer.parameters, 10.0)
        optimizer.step()


def values(optimizer):
    return [p.numpy().copy() for p in optimizer.parameters] + [a.copy() for a in optimizer.arrays().values()]


def assert_same_bits(a, b):
    assert len(a) == len(b)
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_hundred_steps_are_torchs():
    torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")
    settings = {"lr": 1.0, "betas": (0.9, 0.95), "eps": 1e-8}
    ours = AdamW(leaves(), weight_decay=0.1, decayed_axes=2, **settings)
    theirs = [torch.nn.Parameter(torch.from_numpy(p.numpy().copy())) for p in ours.parameters]
    optimizer = torch.optim.AdamW([{"params": [p for p in theirs if p.ndim >= 2], "weight_decay": 0.1},
                                   {"params": [p for p in theirs if p.ndim < 2], "weight_decay": 0.0}], **settings)

    def rate(step):
        if step < 10:
            return 0.001 + 0.049 * step / 10
        return 0.005 + 0.045 * (1 + math.cos(math.pi * (step - 10) / 90)) / 2

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    for step in range(100):
        run(ours, [step])
        set_gradients(ours.parameters, step)  # unclipped again, for torch to clip
        for p, q in zip(theirs, ours.parameters, strict=True):
            p.grad = torch.from_numpy(q.grad.numpy().copy())
        torch.nn.utils.clip_grad_norm_(theirs, 10.0)
        optimizer.step()
        schedule.step()
    for p, q in zip(ours.parameters, theirs, strict=True):
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-12, atol=1e-12)


def test_decay_is_decoupled_and_may_be_for_matrices_only():
    matrix, vector, scalar = leaves(shapes=[(2, 3), (3,), ()])
    optimizer = AdamW([matrix, vector, scalar], lr=0.5, weight_decay=0.1, decayed_axes=2)
    before = [p.numpy().copy() for p in (matrix, vector, scalar)]
    for p in (matrix, vector, scalar):
        p.grad = Tensor(np.zeros(p.shape))
    optimizer.step()
    assert np.array_equal(matrix.numpy(), before[0] * (1 - 0.5 * 0.1))
    assert np.array_equal(vector.numpy(), before[1])
    assert np.array_equal(scalar.numpy(), before[2])
    everything = AdamW([matrix, vector, scalar], lr=0.5, weight_decay=0.1)
    everything.step()
    for p, start, steps in zip(everything.parameters, before, (2, 1, 1), strict=True):
        np.testing.assert_allclose(p.numpy(), start * 0.95**steps, rtol=1e-12)


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_a_parameter_larger_than_a_chunk_is_updated_like_its_parts(n):
    shape = [(200_000,), (3, 70_000), (300, 700), (2, 3, 40_000)][n]
    whole, = leaves(np.float32, [shape])
    flat = whole.numpy().reshape(-1)
    parts = [Tensor(flat[i:i + 999].copy(), requires_grad=True) for i in range(0, flat.size, 999)]
    g = np.random.default_rng(2).standard_normal(shape, dtype=np.float32)
    whole.grad = Tensor(g)
    for i, part in enumerate(parts):
        part.grad = Tensor(g.reshape(-1)[999 * i:999 * (i + 1)].copy())
    for parameters in ([whole], parts):
        AdamW(parameters, weight_decay=0.0).step()
    assert np.array_equal(whole.numpy().reshape(-1), np.concatenate([p.numpy() for p in parts]))


@pytest.mark.parametrize("view", [lambda a: a.T, lambda a: a[:, ::2], lambda a: a[::-1], lambda a: a.T[:, :1]])
def test_a_parameter_that_is_a_view_of_other_memory_is_updated(view):
    base = np.random.default_rng(3).standard_normal((6, 8))
    results = []
    for array in (view(base.copy()), np.array(view(base), order="C")):
        p = Tensor(array, requires_grad=True)
        p.grad = Tensor(np.ones(p.shape))
        AdamW([p], lr=0.1).step()
        results.append(array)
    assert not np.array_equal(results[1], view(base))
    assert np.array_equal(*results)


def test_parameters_without_a_gradient_are_left_alone():
    p, q = leaves(shapes=[(3, 2), (3, 2)])
    optimizer = AdamW([p, q], lr=0.1)
    before = q.numpy().copy()
    p.grad = Tensor(np.ones((3, 2)))
    optimizer.step()
    assert np.array_equal(q.numpy(), before)
    assert not optimizer.arrays()["m.1"].any()
    assert optimizer.arrays()["m.0"].any()


def test_a_step_counts_as_a_change_of_saved_values():
    p, = leaves(shapes=[(3,)])
    loss = (p * p).sum()
    loss.backward(retain_graph=True)
    AdamW([p]).step()
    with pytest.raises(RuntimeError, match="was changed in place"):
        loss.backward()


def test_zero_grad_forgets_the_gradients():
    optimizer = AdamW(leaves())
    set_gradients(optimizer.parameters, 0)
    optimizer.zero_grad()
    assert all(p.grad is None for p in optimizer.parameters)


def test_gradients_are_only_read():
    optimizer = AdamW(leaves(np.float32))
    set_gradients(optimizer.parameters, 0)
    before = [p.grad.numpy().copy() for p in optimizer.parameters]
    optimizer.step()
    assert_same_bits(before, [p.grad.numpy() for p in optimizer.parameters])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_run_continues_bitwise_from_a_state(dtype):
    whole = AdamW(leaves(dtype), weight_decay=0.1)
    run(whole, range(20))

    first = AdamW(leaves(dtype), weight_decay=0.1)
    run(first, range(7))
    state = {name: a.copy() for name, a in first.arrays().items()}
    copies = [Tensor(p.numpy().copy(), requires_grad=True) for p in first.parameters]
    run(first, range(7, 9))  # what happens to the first run later is not in the state
    second = AdamW(copies, weight_decay=0.1)
    second.load_arrays(state)
    assert_same_bits(list(second.arrays().values()), list(state.values()))
    run(second, range(7, 20))
    assert_same_bits(values(second), values(whole))


@pytest.mark.parametrize("field", ["steps", "m.0", "v.0"])
def test_every_field_of_the_state_matters(field):
    optimizer = AdamW(leaves())
    run(optimizer, range(3))
    state = {name: a.copy() for name, a in optimizer.arrays().items()}
    results = []
    for change in (0, 1):
        other = AdamW([Tensor(p.numpy().copy(), requires_grad=True) for p in optimizer.parameters])
        other.load_arrays(state | {field: state[field] + change})
        run(other, [3])
        results.append(other.parameters[0].numpy())
    assert not np.array_equal(*results)


def test_a_state_of_other_parameters_is_refused_and_changes_nothing():
    optimizer = AdamW(leaves(shapes=[(2, 3), (3,)]))
    run(optimizer, range(2))
    before = values(optimizer)
    state = {name: a.copy() for name, a in optimizer.arrays().items()}
    misfit = state | {"m.0": np.zeros((3, 3)), "steps": np.array(9)}
    with pytest.raises(CheckpointError, match=r"m\.0 is \(3, 3\), expected \(2, 3\)"):
        optimizer.load_arrays(misfit)
    with pytest.raises(CheckpointError, match=r"missing v\.1"):
        optimizer.load_arrays({name: a for name, a in state.items() if name != "v.1"})
    with pytest.raises(CheckpointError, match=r"unexpected m\.2"):
        optimizer.load_arrays(state | {"m.2": np.zeros(3)})
    assert_same_bits(values(optimizer), before)


def test_nothing_to_train_is_an_error():
    with pytest.raises(UsageError, match="AdamW: no parameters; is the whole model frozen"):
        AdamW([])


def test_updates_of_a_parameter_that_had_no_gradient_are_in_the_arrays():
    p, q = leaves(shapes=[(3, 2), (3, 2)])
    optimizer = AdamW([p, q], lr=0.1)
    p.grad = Tensor(np.ones((3, 2)))
    optimizer.step()
    state = optimizer.arrays()
    assert int(state["updates.1"]) == 0
    assert "updates.0" not in state
    other = AdamW([Tensor(a.numpy().copy(), requires_grad=True) for a in (p, q)], lr=0.1)
    other.load_arrays(state)
    for parameters in ((p, q), other.parameters):
        for parameter in parameters:
            parameter.grad = Tensor(np.full((3, 2), 2.0))
    optimizer.step()
    other.step()
    assert_same_bits(values(optimizer), values(other))


@pytest.mark.kernels
def test_steps_agree_on_every_backend(backend):
    optimizers = []
    for name in ("numpy", backend.name):
        parameters = [Tensor(p.numpy(), requires_grad=True, backend=name) for p in leaves(np.float32)]
        for p in parameters:
            p.data = p.data.copy()
        optimizers.append(AdamW(parameters, weight_decay=0.1))
        for step in range(5):
            set_gradients(parameters, step)
            optimizers[-1].step()
    for p, q in zip(*(o.parameters for o in optimizers), strict=True):
        assert q.dtype == np.float32
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-6, atol=1e-7)
    assert isinstance(optimizers[1].moments[0][0], backend.array_type)
