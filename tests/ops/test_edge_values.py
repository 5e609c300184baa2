"""Infinities, NaN, empty arrays, zeros and denormals through every form of an op, beside PyTorch."""

import numpy as np
import pytest
from checks import forms_of

from tinygrad_gpt import Tensor, ops
from tinygrad_gpt.backend import default_backend
from tinygrad_gpt.engine import OPS, using_ops

torch = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")
F = torch.nn.functional
INF, NAN, TINY = np.inf, np.nan, 1e-310
LISTS = [[-INF, -INF], [INF, 0.0], [INF, -INF], [INF, INF], [0.0, -INF], [NAN, 0.0], [TINY, 0.0], [1.0], [0.0, 0.0]]
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's; PyTorch has none

UNARY = {
    "sum": lambda x: x.sum(), "mean": lambda x: x.mean(), "max": lambda x: x.amax(),
    "logsumexp": lambda x: x.logsumexp(0), "softmax": lambda x: x.softmax(0), "log_softmax": lambda x: x.log_softmax(0),
    "exp": torch.exp, "log": torch.log, "sqrt": torch.sqrt, "tanh": torch.tanh, "sigmoid": torch.sigmoid,
    "relu": torch.relu, "erf": torch.erf, "neg": torch.neg, "sin": torch.sin, "cos": torch.cos, "log1p": torch.log1p,
    "expm1": torch.expm1, "norm": lambda x: torch.linalg.vector_norm(x), "cumsum": lambda x: x.cumsum(0),
}


def same(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-300)


def compared(call, reference, *arrays):
    """Values and gradients for a cotangent of ones."""
    ours = [Tensor(np.array(a), requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in arrays]
    y, expected = call(*ours), reference(*theirs)
    same(y.numpy(), expected.numpy(force=True))
    y.backward(np.ones(y.shape))
    expected.backward(torch.ones_like(expected))
    for a, b in zip(ours, theirs, strict=True):
        same(a.grad.numpy(), b.grad.numpy())


@pytest.mark.parametrize("values", LISTS, ids=str)
@pytest.mark.parametrize("name", UNARY)
def test_one_argument(name, values):
    for form in forms_of(OPS[name]):
        with using_ops(form):
            compared(OPS[name], UNARY[name], values)


FAR = [-1e4, -100.0, -40.0, -20.0, -10.0, -6.0, 0.0, 6.0, 20.0, 1e4]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "reference"), [("sigmoid", torch.sigmoid), ("gelu_exact", F.gelu)])
def test_digits_stay_far_from_zero(name, reference, dtype):
    """To the left of zero a sigmoid is small, and has all its digits; x Φ(x) is zero where Φ is."""
    theirs = torch.tensor(FAR, dtype=torch.float64, requires_grad=True)
    expected = reference(theirs)
    expected.backward(torch.ones_like(expected))
    for form in forms_of(OPS[name]):
        with using_ops(form):
            ours = Tensor(np.array(FAR, dtype), requires_grad=True)
            y = OPS[name](ours)
            y.backward(np.ones(y.shape, dtype))
        smallest = 1e-6 if name == "gelu_exact" else 1e-37
        close = {"rtol": 1e-6, "atol": smallest} if dtype == "float32" else {"rtol": 1e-12}
        np.testing.assert_allclose(y.numpy(), expected.numpy(force=True), **close)
        if name == "sigmoid":  # left of zero; right of it 1 − y is 0, as in PyTorch
            np.testing.assert_allclose(ours.grad.numpy()[:7], theirs.grad.numpy()[:7], **close)
        if name == "gelu_exact":
            np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), **close)


@pytest.mark.parametrize(("a", "b"), [(0.0, -1.0), (0.0, 0.0), (0.0, 2.0), (INF, 0.0), (INF, -1.0), (INF, 2.0),
                                      (1.0, NAN), (NAN, 1.0), (-INF, 3.0), (1.0, 1.0),
                                      (INF, INF), (-INF, INF), (NAN, 0.0)])
@pytest.mark.parametrize("name", ["pow", "maximum", "add", "sub", "mul"])
def test_two_arguments(name, a, b):
    compared(OPS[name], getattr(torch, name), [a], [b])


def test_nothing_to_reduce():
    empty = Tensor(np.zeros((0, 2)))
    assert empty.sum(0).tolist() == [0.0, 0.0]
    for form in ("fast", "composed"):
        with using_ops(form):
            assert np.isnan(empty.mean(0).numpy()).all()
            assert np.isnan(empty.mean().item())
    assert empty.prod(0).tolist() == [1.0, 1.0]
    assert np.isnan(Tensor([1.0]).var().item()), "so in PyTorch"
    assert Tensor([1.0]).std(correction=0).item() == 0.0


LOSSES = [  # logits, targets, settings; a row that does not count, and classes that are not the target
    ([[-INF, 0.0, 1.0], [0.0, 1.0, 2.0]], [-100, 1], {}), ([[INF, 0.0, 1.0], [0.0, 1.0, 2.0]], [-100, 1], {}),
    ([[NAN, 0.0, 1.0], [0.0, 1.0, 2.0]], [-100, 1], {}), ([[-INF, 0.0, 1.0], [0.0, 1.0, 2.0]], [1, 1], {}),
    ([[-INF, 0.0, 1.0], [0.0, 1.0, 2.0]], [0, 1], {}),
    ([[0.0, -INF, 1.0], [0.0, 1.0, 2.0]], [2, 0], {"ignore_index": 0}),
    ([[-INF, 0.0, 1.0], [0.0, 1.0, 2.0]], [-100, 1], {"label_smoothing": 0.1}),
    ([[-INF, 0.0, 1.0], [0.0, 1.0, 2.0]], [1, 1], {"label_smoothing": 0.1}),
]


@pytest.mark.kernels
@pytest.mark.parametrize(("logits", "targets", "settings"), LOSSES)
def test_rows_that_do_not_count_are_left_out(logits, targets, settings, backend):
    theirs = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    expected = F.cross_entropy(theirs, torch.tensor(targets), **settings)
    expected.backward()
    for form in forms_of(OPS["cross_entropy"]):
        with using_ops(form):
            x = Tensor(placed(logits), requires_grad=True)
            loss = ops.cross_entropy(x, placed(targets), **settings)
            loss.backward()
            same(loss.item(), expected.item())
            np.testing.assert_allclose(x.grad.numpy(), theirs.grad.numpy(), atol=1e-12)


def placed(values):
    return default_backend().from_numpy(np.array(values))


@pytest.mark.kernels
def test_the_linear_loss_leaves_them_out_as_well(backend):
    """The first logit of an ignored row is −∞, and so is one of another row that is not its target."""
    x, weight, targets = np.array([[1.0, 0.0], [1.0, 2.0]]), np.array([[-INF, 1.0], [1.0, 2.0], [3.0, 1.0]]), [-100, 1]
    logits = torch.tensor([[-INF, 1.0, 3.0], [-INF, 5.0, 5.0]], dtype=torch.float64)
    expected = F.cross_entropy(logits, torch.tensor(targets)).item()
    x[0, 1] = 1.0
    for form in forms_of(OPS["linear_cross_entropy"]):
        with using_ops(form):
            same(ops.linear_cross_entropy(Tensor(placed(x)), Tensor(placed(weight)), placed(targets)).item(), expected)
