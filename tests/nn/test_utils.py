import math
import warnings

import numpy as np
import pytest

from tinygrad_gpt import Tensor
from tinygrad_gpt.errors import NonFiniteError
from tinygrad_gpt.nn.utils import clip_grad_norm_, grad_norm


def leaves(*gradients, backend=None):
    """One leaf for each gradient; None for a leaf without one."""
    made = []
    for g in gradients:
        p = Tensor(np.zeros(3 if g is None else np.shape(g)), requires_grad=True, backend=backend)
        p.grad = None if g is None else Tensor(np.array(g, np.float64), backend=backend)
        made.append(p)
    return made


@pytest.mark.kernels
def test_the_norm_is_that_of_all_gradients_together(backend):
    assert grad_norm(leaves([3.0], None, [[0.0, 4.0]], backend=backend.name)) == 5.0
    assert grad_norm(leaves(None, None, backend=backend.name)) == 0.0
    assert grad_norm([]) == 0.0


@pytest.mark.kernels
def test_a_small_norm_changes_nothing(backend):
    p, q = leaves([3.0], [[0.0, 4.0]], backend=backend.name)
    assert clip_grad_norm_([p, q], 5.1).item() == 5.0
    assert p.grad.tolist() == [3.0]
    assert q.grad.tolist() == [[0.0, 4.0]]


@pytest.mark.kernels
def test_a_large_norm_is_scaled_down_and_returned_as_it_was(backend):
    p, q, r = leaves([3.0], None, [[0.0, 4.0]], backend=backend.name)
    assert clip_grad_norm_(iter([p, q, r]), 1.0).item() == 5.0
    assert grad_norm([p, q, r]) == pytest.approx(1.0, rel=1e-6)
    assert grad_norm([p, q, r]) <= 1.0
    assert p.grad.item() / r.grad.numpy()[0, 1] == pytest.approx(0.75, rel=1e-15)
    assert q.grad is None


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_gradients_that_are_not_finite_are_left_as_they_are(bad):
    p, q = leaves([1.0, bad], [2.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        norm = clip_grad_norm_([p, q], 1.0).item()
    assert not math.isfinite(norm)
    assert np.array_equal(p.grad.numpy(), [1.0, bad], equal_nan=True)
    assert q.grad.tolist() == [2.0]


@pytest.mark.parametrize("norm_type", [1, 2.5, math.inf])
def test_other_norms(norm_type):
    p, q = leaves([[3.0, -4.0]], [12.0])
    norm = clip_grad_norm_([p, q], 1.0, norm_type).item()
    assert norm == pytest.approx({1: 19.0, 2.5: (3**2.5 + 4**2.5 + 12**2.5) ** 0.4, math.inf: 12.0}[norm_type])
    assert q.grad.item() == pytest.approx(12 / norm, rel=1e-6)


@pytest.mark.parametrize("norm_type", [1, 2, math.inf])
def test_a_norm_that_is_not_finite_is_an_error_where_asked(norm_type):
    (p,) = leaves([1.0, math.inf])
    with pytest.raises(NonFiniteError, match="the norm is inf; look for the gradient"):
        clip_grad_norm_(p, 1.0, norm_type, error_if_nonfinite=True)
    assert p.grad.tolist() == [1.0, math.inf]


def test_clipping_is_torchs():
    torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")
    r = np.random.default_rng(0)
    for scale in (1e-3, 1.0, 1e3):
        gradients = [scale * r.standard_normal(shape) for shape in ((4, 5), (7,), ())]
        ours = leaves(*gradients)
        theirs = [torch.nn.Parameter(torch.zeros(g.shape, dtype=torch.float64)) for g in gradients]
        for p, g in zip(theirs, gradients, strict=True):
            p.grad = torch.from_numpy(np.array(g))
        norm = clip_grad_norm_(ours, 0.5).item()
        assert norm == pytest.approx(torch.nn.utils.clip_grad_norm_(theirs, 0.5).item(), rel=1e-14)
        for p, q in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-14)
