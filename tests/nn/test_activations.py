import numpy as np
import pytest

from tinygrad_gpt import Tensor, nn
from tinygrad_gpt.errors import ShapeError, UsageError

MODULES = {
    "Identity": lambda nn: nn.Identity(3, any=1), "ReLU": lambda nn: nn.ReLU(), "GELU": lambda nn: nn.GELU(),
    "GELU tanh": lambda nn: nn.GELU(approximate="tanh"), "Tanh": lambda nn: nn.Tanh(),
    "Sigmoid": lambda nn: nn.Sigmoid(), "SiLU": lambda nn: nn.SiLU(), "Softmax": lambda nn: nn.Softmax(dim=1),
    "LogSoftmax": lambda nn: nn.LogSoftmax(dim=-1), "Flatten": lambda nn: nn.Flatten(),
    "Flatten 0 1": lambda nn: nn.Flatten(0, 1),
}


@pytest.mark.parametrize("name", MODULES)
def test_values_and_gradients_are_torchs(name):
    torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    ours, theirs = Tensor(x, requires_grad=True), torch.from_numpy(x).requires_grad_()
    y, expected = MODULES[name](nn)(ours), MODULES[name](torch.nn)(theirs)
    assert y.shape == tuple(expected.shape)
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-12, atol=1e-12)
    (y ** 2.0).sum().backward()
    (expected ** 2).sum().backward()
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-10, atol=1e-10)
    assert repr(MODULES[name](nn)) == repr(MODULES[name](torch.nn))


def test_settings_outside_their_range_are_refused():
    with pytest.raises(UsageError, match="GELU: approximate is 'quick'; choose none or tanh"):
        nn.GELU("quick")
    with pytest.raises(ShapeError, match=r"flatten: axis 1 is out of bounds, the tensor is \(2,\)"):
        nn.Flatten()(Tensor([1.0, 2.0]))
