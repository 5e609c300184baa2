"""einsum beside PyTorch's: values and gradients."""

import numpy as np
import pytest

from tinygrad_gpt import Tensor, ops
from tinygrad_gpt.errors import ShapeError

torch = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")

SIZES = {"b": 2, "i": 3, "j": 4, "k": 2}


@pytest.mark.parametrize("equation", ["ij,jk->ik", "bij,bjk->bik", "ij->ji", "ij->", "ij->i", "i,j->ij", "i,i->",
                                      "ij,jk", "bij,jk,k->bi", "ii->i", "ii", "iij->j", "bij,bij->b"])
def test_same_as_pytorch(equation):
    draw = np.random.default_rng(0)
    arrays = [draw.standard_normal([SIZES[a] for a in part]) for part in equation.split("->")[0].split(",")]
    ours = [Tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, expected = ops.einsum(equation, *ours), torch.einsum(equation, *theirs)
    np.testing.assert_allclose(y.numpy(), expected.numpy(force=True), rtol=1e-12, atol=1e-14)
    (y * y).sum().backward()
    (expected * expected).sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-12, atol=1e-14)


def test_refusals():
    x = Tensor(np.ones((2, 3)))
    with pytest.raises(ShapeError, match="'ij,jk' has 2 parts but there are 1 operands"):
        ops.einsum("ij,jk", x)
    with pytest.raises(ShapeError, match=r"'ijk' names 3 axes but the operand is \(2, 3\)"):
        ops.einsum("ijk->i", x)
    with pytest.raises(ShapeError, match="is not understood"):
        ops.einsum("...j->j", x)
