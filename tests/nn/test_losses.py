"""Losses: values and gradients of PyTorch's."""

import numpy as np
import pytest

from tinygrad_gpt import Tensor, nn
from tinygrad_gpt.errors import ShapeError, UsageError
from tinygrad_gpt.nn import functional

RANDOM = np.random.RandomState(0)
LOGITS = RANDOM.randn(5, 4).astype(np.float32)
CLASSES = np.array([0, 3, -100, 1, 3])
WEIGHT = np.array([0.5, 1.0, 2.0, 4.0], np.float32)
HALVES = RANDOM.rand(5, 4).astype(np.float32)


def compared(module, values, target, arguments, settings):
    """Value and gradient of a loss in both libraries."""
    torch = pytest.importorskip("torch", reason="compares with torch")
    results = []
    for library, tensor in ((nn, Tensor), (torch.nn, torch.tensor)):
        x = tensor(values, requires_grad=True)
        loss = getattr(library, module)(
            **{name: tensor(array) for name, array in arguments.items()}, **settings)(x, tensor(target))
        (loss * loss).sum().backward()
        results.append((loss.detach().numpy(), x.grad.numpy()))
    for ours, theirs in zip(*results, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("values", "target"), [
    (LOGITS, CLASSES), (LOGITS[0], np.array(2)),
    (RANDOM.randn(2, 4, 3).astype(np.float32), np.array([[0, 3, 1], [2, -100, 0]]))])
@pytest.mark.parametrize(("arguments", "settings"), [
    ({}, {}), ({"weight": WEIGHT}, {}), ({}, {"label_smoothing": 0.2}), ({"weight": WEIGHT}, {"label_smoothing": 0.2}),
    ({}, {"ignore_index": 3})])
def test_cross_entropy(values, target, arguments, settings, reduction):
    if "ignore_index" in settings:
        target = np.maximum(target, 0)
    compared("CrossEntropyLoss", values, target, arguments, settings | {"reduction": reduction})


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("module", "values", "arguments"), [
    ("MSELoss", LOGITS, {}), ("BCELoss", HALVES * 0.9 + 0.05, {}), ("BCELoss", HALVES * 0.9 + 0.05, {"weight": WEIGHT}),
    ("BCEWithLogitsLoss", LOGITS, {}), ("BCEWithLogitsLoss", 20 * LOGITS, {}), ("BCEWithLogitsLoss", 0 * LOGITS, {}),
    ("BCEWithLogitsLoss", LOGITS, {"weight": WEIGHT, "pos_weight": WEIGHT})])
def test_losses_of_two_tensors(module, values, arguments, reduction):
    compared(module, values, HALVES[::-1].copy(), arguments, {"reduction": reduction})


def test_probabilities_of_0_and_1_have_finite_losses():
    loss = functional.binary_cross_entropy(Tensor([0.0, 1.0, 0.0, 1.0]), Tensor([0.0, 1.0, 1.0, 0.0]), reduction="none")
    np.testing.assert_allclose(loss.numpy(), [0, 0, 100, 100], rtol=1e-3, atol=1e-6)


def test_where_no_row_counts():
    with pytest.warns(UserWarning, match="all 5 targets are ignored"):
        assert functional.cross_entropy(Tensor(LOGITS), np.full(5, -100)).item() == 0


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda x: functional.mse_loss(x, x[:1]), ShapeError, r"mse_loss: input is \(5, 4\) but target is \(1, 4\)"),
    (lambda x: functional.mse_loss(x, x, reduction="max"), UsageError, "reduction is 'max'; choose mean, sum, none"),
    (lambda x: functional.cross_entropy(x, CLASSES, reduction="batch"), UsageError, "reduction is 'batch'"),
    (lambda x: nn.BCELoss(reduction="max"), UsageError, "reduction is 'max'"),
])
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(Tensor(LOGITS))
