import numpy as np
import pytest

from tinygrad_gpt import Tensor, manual_seed
from tinygrad_gpt.errors import ShapeError, UsageError
from tinygrad_gpt.nn import functional as F

X = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
W = np.random.default_rng(1).standard_normal((5, 4)).astype(np.float32)
IDS = np.array([[0, 4], [4, 2]])
CALLS = {
    "linear": lambda F, t: F.linear(t(X), t(W)),
    "linear with bias": lambda F, t: F.linear(t(X), t(W), t(X[0, 0, :1].repeat(5))),
    "embedding": lambda F, t: F.embedding(t(IDS), t(W)),
    "embedding with padding": lambda F, t: F.embedding(t(IDS), t(W), padding_idx=-1),
    "layer_norm": lambda F, t: F.layer_norm(t(X), (4,), t(X[0, 0]), t(X[1, 0]), 1e-3),
    "layer_norm of two axes": lambda F, t: F.layer_norm(t(X), (3, 4)),
    "gelu": lambda F, t: F.gelu(t(X)),
    "gelu tanh": lambda F, t: F.gelu(t(X), approximate="tanh"),
    "silu": lambda F, t: F.silu(t(X)),
    "logsigmoid": lambda F, t: F.logsigmoid(t(X)),
    "logsigmoid far from zero": lambda F, t: F.logsigmoid(t(np.float32([-800, 0, 800]))),
    "relu": lambda F, t: F.relu(t(X)),
    "tanh": lambda F, t: F.tanh(t(X)),
    "sigmoid": lambda F, t: F.sigmoid(t(X)),
    "softmax": lambda F, t: F.softmax(t(X), dim=1),
    "log_softmax": lambda F, t: F.log_softmax(t(X), dim=-1),
    "attention": lambda F, t: F.scaled_dot_product_attention(t(X), t(X + 1), t(X[:, :, :2])),
    "attention, causal": lambda F, t: F.scaled_dot_product_attention(t(X), t(X), t(X), is_causal=True),
    "attention with a mask": lambda F, t: F.scaled_dot_product_attention(t(X), t(X), t(X), t(np.eye(3, dtype=bool))),
    "attention with a bias": lambda F, t: F.scaled_dot_product_attention(t(X), t(X), t(X), t(X[0, :, :3]), scale=0.5),
    "attention of a query that sees nothing": lambda F, t: F.scaled_dot_product_attention(
        t(X), t(X), t(X), t(np.array([[True] * 3, [False] * 3, [False, True, False]]))),
    "attention with a bias of −∞": lambda F, t: F.scaled_dot_product_attention(
        t(X), t(X), t(X), t(np.float32([[0, 1, 2], [-np.inf] * 3, [1, -np.inf, 0]]))),
    "sigmoid far from zero": lambda F, t: F.sigmoid(t(np.float32([-800, -88, -20, -10, 0, 20, 800]))),
    "dropout": lambda F, t: F.dropout(t(X), 0.25),
    "dropout of all": lambda F, t: F.dropout(t(X), 1.0),
    "dropout while testing": lambda F, t: F.dropout(t(X), training=False),
}


@pytest.mark.parametrize("name", CALLS)
def test_values_and_gradients_are_torchs(name):
    torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")
    leaves = []

    def ours(a):
        leaves.append(Tensor(a.copy(), requires_grad=a.dtype == np.float32))
        return leaves[-1]

    def theirs(a):
        leaves.append(torch.from_numpy(a.copy()).requires_grad_(a.dtype == np.float32))
        return leaves[-1]

    torch.manual_seed(7)
    manual_seed(7)
    y, expected = CALLS[name](F, ours), CALLS[name](torch.nn.functional, theirs)
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-5, atol=1e-5)
    (y * y).sum().backward()
    (expected * expected).sum().backward()
    half = len(leaves) // 2
    for a, b in zip(leaves[:half], leaves[half:], strict=True):
        if b.grad is not None:
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-4, atol=1e-4)


def test_flatten_joins_the_axes_asked_for():
    assert F.flatten(Tensor(X)).shape == (24,)
    assert F.flatten(Tensor(X), 1).shape == (2, 12)
    assert F.flatten(Tensor(X), 0, -2).shape == (6, 4)


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ShapeError, match=r"layer_norm: x is \(2, 3, 4\), but its last axes should be \(3,\)"):
        F.layer_norm(Tensor(X), (3,))


def test_one_hot():
    assert F.one_hot(Tensor([0, 2])).tolist() == [[1, 0, 0], [0, 0, 1]]
    assert F.one_hot([[1]], 2).shape == (1, 1, 2)
    for bad, text in (([-1], "of at least 0"), ([0.5], "of at least 0"), ([3], "there are 2 classes")):
        with pytest.raises(ShapeError, match=text):
            F.one_hot(bad, 2)


def test_attention_takes_one_mask():
    x = Tensor(X)
    with pytest.raises(UsageError, match="both attn_mask and is_causal are given; give one of them"):
        F.scaled_dot_product_attention(x, x, x, np.eye(3, dtype=bool), is_causal=True)
