import numpy as np
import pytest

from tinygrad_gpt import Tensor, manual_seed
from tinygrad_gpt.nn import Linear


@pytest.mark.parametrize(("sizes", "bias"), [((3, 2), True), ((4, 5), False), ((40, 30), True)])
def test_values_gradients_and_initial_values_are_torchs(sizes, bias):
    torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")
    torch.manual_seed(123)
    manual_seed(123)
    theirs, ours = torch.nn.Linear(*sizes, bias=bias), Linear(*sizes, bias=bias)
    x = np.random.default_rng(0).standard_normal((2, 7, sizes[0])).astype(np.float32)
    for name, value in theirs.state_dict().items():
        assert np.array_equal(ours.state_dict()[name].numpy(), value.numpy()), name
    ours_x, theirs_x = Tensor(x, requires_grad=True), torch.from_numpy(x).requires_grad_()
    (ours(ours_x) ** 2.0).sum().backward()
    (theirs(theirs_x) ** 2.0).sum().backward()
    np.testing.assert_allclose(ours(ours_x).numpy(), theirs(theirs_x).detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours_x.grad.numpy(), theirs_x.grad.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.weight.grad.numpy(), theirs.weight.grad.numpy(), rtol=1e-4, atol=1e-5)
    assert repr(ours) == repr(theirs)


def test_the_weight_that_the_book_prints():
    manual_seed(123)
    layer = Linear(2, 2)
    np.testing.assert_allclose(layer.weight.numpy(), [[-0.2883, 0.0234], [-0.3512, 0.2667]], atol=5e-5)
    assert layer.weight.shape == (2, 2)
    layer.reset_parameters()
    assert not np.allclose(layer.weight.numpy()[0, 0], -0.2883, atol=1e-3)
