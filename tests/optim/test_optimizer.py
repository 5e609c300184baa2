"""What SGD, Adam and AdamW share; their steps beside torch's, over 20 steps."""

import copy

import numpy as np
import pytest

from tinygrad_gpt import Tensor, manual_seed
from tinygrad_gpt.errors import CheckpointError, DTypeError, UsageError
from tinygrad_gpt.nn import Linear
from tinygrad_gpt.optim import SGD, Adam, AdamW

OPTIMIZERS = [SGD, Adam, AdamW]
SHAPES = [(3, 4), (4,), ()]
SETTINGS = [
    ("SGD", {}), ("SGD", {"lr": 0.1, "momentum": 0.9}), ("SGD", {"momentum": 0.9, "dampening": 0.3}),
    ("SGD", {"lr": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"weight_decay": 0.2}), ("SGD", {"momentum": 0.5, "maximize": True}),
    ("Adam", {}), ("Adam", {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-4}), ("Adam", {"weight_decay": 0.1}),
    ("Adam", {"amsgrad": True, "lr": 0.1}), ("Adam", {"maximize": True, "amsgrad": True, "weight_decay": 0.1}),
    ("AdamW", {}), ("AdamW", {"lr": 0.1, "betas": (0.8, 0.9), "weight_decay": 0.1}), ("AdamW", {"weight_decay": 0.0}),
    ("AdamW", {"maximize": True, "eps": 1e-3}),
]


def leaf(*values, dtype=np.float32):
    return Tensor(np.array(values, dtype), requires_grad=True)


def with_gradients(parameters, step, skip=None):
    r = np.random.default_rng((1, step))
    for i, p in enumerate(parameters):
        g = r.standard_normal(p.shape).astype(p.numpy().dtype)
        p.grad = None if i == skip else g
    return parameters


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_twenty_steps_are_torchs(name, settings, dtype):
    torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")
    start = [np.asarray(np.random.default_rng(0).standard_normal(shape), dtype) for shape in SHAPES]
    ours = [Tensor(a.copy(), requires_grad=True) for a in start]
    theirs = [torch.nn.Parameter(torch.from_numpy(a.copy())) for a in start]
    groups = [lambda p: {"params": p[:1]}, lambda p: {"params": p[1:], "lr": 0.02}]
    optimizer = {"SGD": SGD, "Adam": Adam, "AdamW": AdamW}[name]([g(ours) for g in groups], **settings)
    oracle = getattr(torch.optim, name)([g(theirs) for g in groups], **settings)
    for step in range(20):
        r = np.random.default_rng((1, step))
        for i, (p, q) in enumerate(zip(ours, theirs, strict=True)):
            g = np.asarray(r.standard_normal(p.shape), dtype)
            missing = i == 1 and step in (0, 7)  # a parameter that is not in every graph
            p.grad, q.grad = (None, None) if missing else (Tensor(g), torch.from_numpy(g))
        optimizer.step()
        oracle.step()
    tolerance = 1e-6 if dtype == np.float32 else 1e-12
    for p, q in zip(ours, theirs, strict=True):
        assert p.dtype == dtype
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("make", OPTIMIZERS)
@pytest.mark.parametrize(("parameters", "error", "text"), [
    (lambda: leaf(1.0, 2.0), DTypeError, "the parameters are a Tensor; give a list of tensors"),
    (lambda: "weights", DTypeError, "the parameters are a str"),
    (lambda: {"params": [leaf(1.0)]}, DTypeError, "the parameters are a dict"),
    (lambda: 3, DTypeError, "the parameters are a int"),
    (lambda: [3.0], DTypeError, "a parameter is a float; give tensors"),
    (lambda: ["ab"], DTypeError, "a parameter is a str; give tensors"),
    (lambda: [{"params": {leaf(1.0)}}], DTypeError, "the parameters are a set"),
    (lambda: [{"lr": 1.0}], DTypeError, "a group of parameters is a dictionary with 'params'"),
    (lambda: [{"params": [leaf(1.0)], "speed": 1.0}], UsageError, "the unknown setting 'speed'"),
    (list, UsageError, "no parameters; is the whole model frozen"),
    (lambda: [leaf(1.0) * 2.0], UsageError, "a parameter is no leaf"),
    (lambda: [leaf(1.0)] * 2, UsageError, "a parameter is given twice"),
    (lambda: [{"params": [p]} for p in [leaf(1.0)] * 2], UsageError, "a parameter is given twice"),
])
def test_parameters_that_cannot_be_trained_are_refused(make, parameters, error, text):
    with pytest.raises(error, match=f"^{make.__name__}: .*{text}"):
        make(parameters())


@pytest.mark.parametrize(("make", "settings"), [
    *((make, {name: value}) for make in OPTIMIZERS for name in ("lr", "weight_decay")
      for value in (-0.1, float("nan"), "1")),
    (SGD, {"momentum": -1.0}), (SGD, {"nesterov": True}), (SGD, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}),
    *((make, settings) for make in (Adam, AdamW) for settings in (
        {"betas": (1, 0.9)}, {"betas": (0.9, 2)}, {"betas": (-0.1, 0.9)}, {"betas": (0.9, float("nan"))},
        {"betas": 0.9}, {"betas": (0.9,)}, {"eps": -1.0})),
])
def test_settings_outside_their_range_are_refused(make, settings):
    with pytest.raises(UsageError, match=next(iter(settings))):
        make([leaf(1.0)], **settings)


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_rates_are_read_and_written_by_group(make):
    p, q = leaf(1.0), leaf(2.0)
    optimizer = make([{"params": p}, {"params": [q], "lr": 0.5}], lr=0.1)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.5]
    optimizer.param_groups[1]["lr"] = 0.0
    p.grad, q.grad = Tensor([1.0]), Tensor([1.0])
    optimizer.step()
    assert q.tolist() == [2.0]
    assert p.tolist() != [1.0]
    optimizer.lr = 0.25
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]
    optimizer.add_param_group({"params": [leaf(3.0)]})
    assert len(optimizer.parameters) == 3


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_a_model_is_trained_with_a_closure(make):
    manual_seed(123)
    layer = Linear(2, 1)
    optimizer = make(layer.parameters(), lr=0.01)

    def closure():
        optimizer.zero_grad()
        loss = (layer(Tensor([[1.0, 2.0]])) ** 2.0).sum()
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(20)]
    assert losses[-1] < losses[0]
    optimizer.zero_grad(set_to_none=False)
    assert all(not p.grad.numpy().any() for p in layer.parameters())
    optimizer.zero_grad()
    assert all(p.grad is None for p in layer.parameters())


def test_parameters_may_come_with_their_names():
    layer = Linear(2, 1)
    assert SGD(layer.named_parameters()).parameters == list(layer.parameters())


@pytest.mark.parametrize(("make", "settings"), [
    (SGD, {"momentum": 0.9, "dampening": 0.1}), (SGD, {}), (Adam, {"amsgrad": True}), (AdamW, {})])
def test_a_run_continues_bitwise_from_a_state_dict(make, settings):
    first = [leaf(1.0, 2.0), leaf(3.0)]
    optimizer = make(first, lr=0.1, **settings)
    for step in range(3):
        with_gradients(first, step)
        optimizer.step()
    state = copy.deepcopy({"state": {i: {k: np.array(v.numpy()) if isinstance(v, Tensor) else v for k, v in s.items()}
                                     for i, s in optimizer.state_dict()["state"].items()},
                           "param_groups": optimizer.state_dict()["param_groups"]})
    second = [Tensor(p.numpy().copy(), requires_grad=True) for p in first]
    other = make(second, lr=0.9, **settings)
    other.load_state_dict(state)
    assert other.lr == 0.1
    assert other.steps == 3
    for step in range(3, 6):
        for parameters, o in ((first, optimizer), (second, other)):
            with_gradients(parameters, step)
            o.step()
    assert [p.tolist() for p in first] == [p.tolist() for p in second]


def test_a_state_of_other_parameters_is_refused_and_changes_nothing():
    optimizer = Adam([leaf(1.0, 2.0)])
    with pytest.raises(CheckpointError, match=r"groups of \[2\] parameters, this optimiser of \[1\]"):
        optimizer.load_state_dict(Adam([leaf(1.0), leaf(2.0)]).state_dict())
    with pytest.raises(CheckpointError, match="the state of parameter 0 does not fit"):
        optimizer.load_state_dict(Adam([leaf(1.0)]).state_dict())
    with pytest.raises(CheckpointError, match="the state of parameter 0 does not fit"):
        optimizer.load_state_dict(SGD([leaf(1.0, 2.0)]).state_dict())
    assert optimizer.lr == 1e-3
