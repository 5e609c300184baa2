"""Functions of each element at the points where they are not smooth, beside PyTorch's."""

import numpy as np
import pytest

from tinygrad_gpt import Tensor

torch = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")

POINTS = np.array([-np.inf, -3.0, -0.5, -0.0, 0.0, 1e-310, 0.5, 1.5, 3.0, np.inf, np.nan])


@pytest.mark.parametrize("text", ["x.clamp(-0.5, 1.5)", "x.clamp(min=0)", "x.abs()", "x.square()", "x.floor()",
                                  "x.round()", "x.sign()", "x.relu()", "x.clip(max=0.0)", "x.isfinite()", "x.isnan()"])
def test_same_as_pytorch(text):
    points = POINTS[:-1] if "cl" in text or "abs" in text or "sign" in text else POINTS  # see test_nan
    x, y = Tensor(points, requires_grad=True), torch.tensor(points, requires_grad=True)
    ours, theirs = eval(text, {"x": x}), eval(text, {"x": y})
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy(force=True))
    if ours.requires_grad:
        ours.backward(np.ones_like(points))
        theirs.backward(torch.ones_like(y))
        np.testing.assert_array_equal(x.grad.numpy(), y.grad.numpy())


def test_nan():
    """NaN stays NaN; its gradient passes clamp and is NaN behind abs, where PyTorch takes 0 for both."""
    x = Tensor(np.array([np.nan, np.nan]), requires_grad=True)
    y = x.clamp(0, 1)
    assert np.isnan(y.numpy()).all()
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]
    x.zero_grad()
    assert np.isnan(x.sign().numpy()).all()
    x.abs().sum().backward()
    assert np.isnan(x.grad.numpy()).all()


def test_softplus_and_silu():
    finite = POINTS[1:-2]
    for ours, theirs in (("softplus", torch.nn.functional.softplus), ("silu", torch.nn.functional.silu)):
        x, y = Tensor(finite, requires_grad=True), torch.tensor(finite, requires_grad=True)
        result, expected = getattr(x, ours)(), theirs(y)
        np.testing.assert_allclose(result.numpy(), expected.numpy(force=True), rtol=1e-12)
        result.sum().backward()
        expected.sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-12)
