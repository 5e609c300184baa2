"""Methods of a Tensor beside PyTorch's of the same text: values, dtypes and gradients."""

import inspect
import warnings

import numpy as np
import pytest

from tinygrad_gpt import Tensor, no_grad
from tinygrad_gpt.engine.pytorch.methods import Methods, ValuesAndIndices
from tinygrad_gpt.errors import DTypeError, ShapeError, TapeError

torch = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")

VALUES = np.random.default_rng(0).standard_normal((2, 3, 4))
VALUES[0, 0, 0] = VALUES[0, 0, 2]  # a tie
SNIPPETS = """
x.view(6, 4) | x.view(2, -1) | x.view_as(x.reshape(4, 6)) | x.reshape((3, 8)) | x.flatten() | x.flatten(1) | x.ravel()
x.flatten(0, 1) | x.unflatten(2, (2, 2)) | x.unflatten(-1, (2, -1)) | x[:1].squeeze() | x[:1].squeeze(0) | x.squeeze(1)
x.unsqueeze(0) | x.unsqueeze(-1) | x.permute(2, 0, 1) | x.transpose(0, -1) | x.mT | x.movedim(0, 2)
x[:1].expand(5, -1, 4)
x[0, 0].expand(2, 3, 4) | x[:1].expand_as(x) | x.repeat(2, 1, 3) | x[0].repeat(2, 1, 1) | x[0].tile(2)
x.chunk(2, dim=-1)[1]
x.repeat_interleave(2, 1) | x.repeat_interleave(2) | x.chunk(3, 2)[1] | x.split(3, 2)[1] | x.split([1, 2], dim=1)[1]
x.unbind(1)[2] | x.narrow(2, 1, 2) | x.select(1, 0) | x[0].diagonal() | x.diagonal(1, 1, 2) | x[0, :, :3].diag()
x[0, 0].diag()
x[0, 0].diag(-1) | x.flip(0, 2) | x.flip([1]) | x.roll(1, 2) | x.roll((1, -1), (0, 2)) | x.roll(3) | x.T.shape
x.index_select(2, i) | x.take(i) | x.gather(2, j) | x.scatter(2, j, x[:, :, :2]) | x.scatter(1, j, 7.0)
x.where(x > 0, 0.0)
x.scatter_add(2, j, x[:, :, :2]) | x.masked_fill(x > 0, -9.0) | x.masked_fill(m, float("-inf")).softmax(-1)
x.masked_select(x > 0) | x.masked_select(m) | x.tril() | x.triu(1) | x.tril(-1) | (x > 0).triu()
x.contiguous().view(24)
x.abs() | x.neg() | x.exp() | x.expm1() | x.abs().log() | x.abs().log1p() | x.abs().sqrt() | x.abs().rsqrt()
x.square()
x.pow(2) | x.pow(3.0) | x.reciprocal() | x.sin() | x.cos() | x.tanh() | x.erf() | x.sigmoid() | x.relu()
x.abs().log2()
x.abs().log10() | x.clamp(-0.5, 0.5) | x.clamp(min=0) | x.clip(max=0.1) | x.maximum(x[0]) | x.minimum(x[0])
x.clamp(min=x[0])
x.sign() | x.floor() | x.ceil() | x.round() | x.trunc() | x.round(decimals=1) | x.isnan() | x.isinf() | x.isfinite()
x.equal(x) | x.equal(x[0]) | x.allclose(x + 1e-12) | x.isclose(x[0]) | (x > 0).any() | (x > 0).all(1)
(x > 0).any(dim=2, keepdim=True)
x.count_nonzero() | (x > 0).nonzero() | i.bincount() | i.bincount(minlength=9) | (x > 0).sum() | i.sum() | i.max()
x.sum() | x.sum(1) | x.sum((0, 2)) | x.sum(dim=[0, 1], keepdim=True) | x.sum(-1, True) | x.sum(dim=()) | x.mean(0)
x.mean(dim=-1, keepdim=True)
x.logsumexp(1) | x.logsumexp(dim=(0, 1), keepdim=True) | x.softmax(1) | x.softmax(dim=-1) | x.log_softmax(0)
x.amax(1) | x.amin((0, 1))
x.max() | x.min() | x.max(1).values | x.max(dim=2)[1] | x.min(0, keepdim=True).values | x.min(-1)[0] | x.max(x[0])
x.min(x[0])
x.argmax() | x.argmax(-1) | x.argmax(dim=1, keepdim=True) | x.argmin(0) | x.var() | x.var(1)
x.var(dim=-1, keepdim=True, unbiased=False)
x.var(dim=(0, 1), correction=0) | x.std() | x.std(-1) | x.std(dim=0, unbiased=False) | (0 * x).std(1) | x.norm()
x.norm(dim=-1)
(0 * x).norm() | x.norm(1) | x.norm(p=1, dim=1) | x.norm(float("inf")) | x.norm(3, dim=0, keepdim=True) | x.norm(0)
x.prod() | x.prod(1) | x.prod(dim=2, keepdim=True) | (x * (x > 0)).prod(-1) | x.cumsum(0) | x.cumsum(dim=-1)
x[:0].prod(0)
x.sort().values | x.sort(0, descending=True)[0] | x.argsort(-1) | x.argsort(dim=1, descending=True)
x.topk(2).values | x.topk(2, dim=1)[1]
x.topk(1, dim=-1, largest=False).values | x.topk(0).values | x[0].mm(x[1].T) | x.bmm(x.mT) | x[0].mv(x[0, 0])
x[0, 0].dot(x[0, 1])
x[0, 0].outer(x[0, 1]) | x.matmul(x.mT)
"""
CASES = [snippet.strip() for line in SNIPPETS.strip().splitlines() for snippet in line.split(" | ")]
I, J = np.array([3, 0, 1, 1]), np.array([[[0, 2], [1, 0], [2, 1]], [[2, 0], [0, 1], [1, 2]]])
MASK = np.array([True, False, False, True])


def evaluated(snippet, x, i, j, m):
    return eval(snippet, {"x": x, "i": i, "j": j, "m": m})


@pytest.mark.parametrize("snippet", CASES)
def test_same_as_pytorch(snippet):
    x, y = Tensor(VALUES, requires_grad=True), torch.tensor(VALUES, requires_grad=True)
    ours = evaluated(snippet, x, Tensor(I), Tensor(J), Tensor(MASK))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch: x.T of three axes
        theirs = evaluated(snippet, y, torch.tensor(I), torch.tensor(J), torch.tensor(MASK))
    if not isinstance(theirs, torch.Tensor):
        assert ours == theirs
        return
    assert str(theirs.dtype) == f"torch.{ours.dtype}"
    assert ours.shape == tuple(theirs.shape)
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(force=True), rtol=1e-12, atol=1e-12)
    if ours.requires_grad:
        weights = np.arange(1.0, 1 + ours.size).reshape(ours.shape)
        (ours * weights).sum().backward()
        (theirs * torch.tensor(weights)).sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-9, atol=1e-9)


def test_argument_lists_are_real():
    """What an editor shows: no ``*args, **settings``, no array namespace."""
    assert str(inspect.signature(Tensor.sum)) == ("(self, dim=None, keepdim=False, *, dtype=None, axis=None, "
                                                  "keepdims=False)")
    assert {"exp", "sum", "softmax", "view", "masked_fill", "topk"} <= set(dir(Tensor([1.0])))
    for name in (name for name in dir(Methods) if not name.startswith("_") and callable(getattr(Methods, name))):
        assert not {"args", "settings", "kwargs", "xp"} & set(inspect.signature(getattr(Tensor, name)).parameters), name
        assert getattr(Tensor, name).__doc__, name


def test_numpys_keyword_gives_numpys_result():
    x = Tensor(VALUES)
    assert np.array_equal(x.max(axis=1).numpy(), VALUES.max(axis=1))
    assert isinstance(x.max(dim=1), ValuesAndIndices)
    assert isinstance(x.max(1), ValuesAndIndices)
    assert x.sum(axis=1, keepdims=True).shape == x.sum(dim=1, keepdim=True).shape == (2, 1, 4)


def test_masked_fill_in_place():
    """On memory off the tape it is written; a result on the tape is recorded, as the book's attention needs it."""
    x, view = Tensor(VALUES.copy()), None
    view = x[0]
    assert x.masked_fill_(Tensor(MASK), 0.0) is x
    assert not view.numpy()[:, 0].any()
    leaf = Tensor(VALUES.copy(), requires_grad=True)
    with pytest.raises(TapeError, match="masked_fill_: a leaf that requires gradients is not written to"):
        leaf.masked_fill_(MASK, 0.0)
    with no_grad():
        leaf.masked_fill_(MASK, 0.0)
    theirs = torch.tensor(leaf.numpy().copy(), requires_grad=True)
    scores, expected = leaf * 2.0, theirs * 2.0
    scores.masked_fill_(Tensor(MASK), -np.inf)
    expected.masked_fill_(torch.tensor(MASK), -torch.inf)
    (scores.softmax(-1) * VALUES).sum().backward()
    (expected.softmax(-1) * torch.tensor(VALUES)).sum().backward()
    np.testing.assert_allclose(leaf.grad.numpy(), theirs.grad.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda x: x.view(5), ShapeError, "op 'reshape': cannot reshape array of size 24"),
    (lambda x: x.flatten(2, 1), ShapeError, "flatten: start_dim 2 is behind end_dim 1"),
    (lambda x: x.expand(3, 4), ShapeError, r"expand: 2 sizes are too few, the tensor is \(2, 3, 4\)"),
    (lambda x: x.repeat(2), ShapeError, "repeat: 1 counts are too few"),
    (lambda x: x.split([1, 1], 2), ShapeError, r"split: the sizes \[1, 1\] add up to 2, but axis 2 has 4"),
    (lambda x: x.unsqueeze(5), ShapeError, r"unsqueeze: axis 5 is out of bounds, the tensor is \(2, 3, 4\)"),
    (lambda x: x.gather(0, [[0]]), ShapeError, r"gather: the index is \(1, 1\) but the tensor is \(2, 3, 4\)"),
    (lambda x: x.gather(0, [[[2]]]), ShapeError, "gather: the index holds 2 … 2, outside 0 … 1"),
    (lambda x: x.take([0.5]), DTypeError, "index: float32 values are no positions; give integers"),
    (lambda x: x.clamp(), ShapeError, "clamp: neither min nor max is given"),
    (lambda x: x.topk(5), ShapeError, "topk: k is 5 but axis -1 has 4 values"),
    (lambda x: x.mm(x), ShapeError, r"mm: needs 2 axes and 2, got \(2, 3, 4\) and \(2, 3, 4\); matmul takes any"),
    (lambda x: x[0, 0].tril(), ShapeError, r"tril, triu: need two axes or more, the tensor is \(4,\)"),
])
def test_refusals(call, error, text):
    with pytest.raises(error, match=text):
        call(Tensor(VALUES))
