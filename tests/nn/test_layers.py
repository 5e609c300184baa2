import math

import numpy as np
import pytest

from tinygrad_gpt import Tensor
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.nn import MLP, Block, CausalSelfAttention, Conv1D, Dropout, Embedding, LayerNorm


def generator(seed=0):
    return np.random.default_rng(seed)


def normal(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape)


# -- dropout


def mask(stream, call=1, p=0.3, shape=(40, 50)):
    layer = Dropout(p)
    layer.stream = stream
    for _ in range(call):
        drawn = layer.mask(Tensor(np.ones(1, np.float32)), shape)
    return drawn


def test_a_mask_is_a_function_of_seed_step_layer_and_call():
    base = mask((5, 6, 7), call=2)
    assert np.array_equal(base, mask((5, 6, 7), call=2))
    for other in (mask((4, 6, 7), 2), mask((5, 7, 7), 2), mask((5, 6, 8), 2), mask((5, 6, 7), 1)):
        agree = (other == base).mean()  # of independent masks: p² + (1 − p)² = 0.58
        assert abs(agree - 0.58) < 5 * math.sqrt(0.58 * 0.42 / base.size)


def test_a_mask_does_not_depend_on_earlier_streams():
    layer = Dropout(0.3)
    like = Tensor(np.ones(1, np.float32))
    layer.mask(like, (7,))
    layer.stream, layer.calls = (5, 6, 7), 0
    assert np.array_equal(layer.mask(like, (40, 50)), mask((5, 6, 7)))


@pytest.mark.parametrize("p", [0.05, 0.1, 0.5, 0.9])
def test_the_rate_is_within_binomial_bounds_of_every_stream(p):
    n, bound = 40 * 50, 5 * math.sqrt(40 * 50 * p * (1 - p))
    for seed in range(50):
        dropped = n - np.count_nonzero(mask((seed, 0, 0), p=p))
        assert abs(dropped - n * p) < bound
    total = sum(n - np.count_nonzero(mask((seed, 1, 3), p=p)) for seed in range(50))
    assert abs(total - 50 * n * p) < 5 * math.sqrt(50 * n * p * (1 - p))


def test_masks_agree_bit_for_bit_on_every_backend(backend):
    layer = Dropout(0.3)
    layer.stream = (5, 6, 7)
    drawn = layer.mask(Tensor(backend.from_numpy(np.ones(1, np.float32))), (40, 50))
    assert isinstance(drawn, backend.array_type)
    assert np.array_equal(backend.to_numpy(drawn), mask((5, 6, 7)))


def test_what_is_kept_is_scaled_so_that_the_expectation_stays(backend):
    layer = Dropout(0.25)
    layer.stream = (0,)
    x = Tensor(backend.from_numpy(np.full((20, 30), 3.0, np.float32)), requires_grad=True)
    y = layer(x)
    assert set(np.unique(y.numpy())) == {0.0, np.float32(4.0)}
    y.sum().backward()
    assert np.array_equal(x.grad.numpy(), y.numpy() / 3)  # the same mask, the same scale
    layer.calls = 0
    assert np.array_equal(layer(x).numpy(), y.numpy())
    assert not np.array_equal(layer(x).numpy(), y.numpy())


def test_dropout_is_inactive_in_eval_and_at_zero():
    x = Tensor(normal(3, 4))
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x
    layer = Dropout(0.5).eval()
    assert layer.mask(x, (2,)) is None
    assert layer.calls == 0


@pytest.mark.parametrize("p", [-0.1, 1.0, math.nan])
def test_a_rate_outside_its_range_is_refused(p):
    with pytest.raises(UsageError, match="expected 0 ≤ p < 1"):
        Dropout(p)


def test_attention_drops_weights_and_a_block_drops_both_branches():
    block = Block(8, 2, generator(), n_layer=1, dropout=0.5, qkv_bias=True, eps=1e-5)
    x = Tensor(normal(2, 5, 8).astype(np.float32))
    block.attn.attn_dropout.stream, block.resid_dropout.stream = (0,), (1,)
    first = block(x).numpy()
    assert (block.attn.attn_dropout.calls, block.resid_dropout.calls) == (1, 2)
    assert not np.array_equal(block(x).numpy(), first)
    block.eval()
    assert np.array_equal(block(x).numpy(), block(x).numpy())


# -- initial values


def test_initial_values_are_gpt2s():
    block = Block(64, 2, generator(), n_layer=8, dropout=0.0, qkv_bias=True, eps=1e-5)
    for layer, std in ((block.attn.c_attn, 0.02), (block.mlp.c_fc, 0.02),
                       (block.attn.c_proj, 0.02 / 4), (block.mlp.c_proj, 0.02 / 4)):
        w = layer.weight.numpy()
        assert abs(w.std() / std - 1) < 4 / math.sqrt(2 * w.size)
        assert not layer.bias.numpy().any()
    for norm in (block.ln_1, block.ln_2):
        assert (norm.weight.numpy() == 1).all()
        assert not norm.bias.numpy().any()


# -- each layer beside torch's, in float64


def layers():
    block = {"n_layer": 2, "dropout": 0.0, "eps": 1e-5}
    return {
        "Conv1D": (lambda: Conv1D(6, 4, generator()), lambda t, nn: nn.Linear(6, 4)),
        "Conv1D without bias": (lambda: Conv1D(6, 4, generator(), bias=False),
                                lambda t, nn: nn.Linear(6, 4, bias=False)),
        "LayerNorm": (lambda: LayerNorm(6, eps=1e-3), lambda t, nn: nn.LayerNorm(6, eps=1e-3)),
        "attention": (lambda: CausalSelfAttention(6, 3, generator(), dropout=0.0, qkv_bias=True, proj_std=0.02),
                      lambda t, nn: t.Attention(6, 3)),
        "attention without bias": (
            lambda: CausalSelfAttention(6, 2, generator(), dropout=0.0, qkv_bias=False, proj_std=0.02),
            lambda t, nn: t.Attention(6, 2, qkv_bias=False)),
        "MLP": (lambda: MLP(6, generator(), proj_std=0.02), lambda t, nn: t.MLP(6)),
        "Block": (lambda: Block(6, 2, generator(), qkv_bias=True, **block), lambda t, nn: t.Block(6, 2)),
    }


def randomised(module):
    """float64, and every parameter away from its special initial value."""
    r = generator(7)
    for p in module.parameters():
        p.data = p.numpy() + 0.3 * r.standard_normal(p.shape)
    return module


@pytest.mark.parametrize("name", layers())
def test_a_layer_does_what_torchs_does(name):
    torch_gpt2 = pytest.importorskip("torch_gpt2", reason="torch, the oracle, is not installed")
    torch = torch_gpt2.torch
    make, make_torch = layers()[name]
    ours = randomised(make())
    theirs = torch_gpt2.copy_weights(ours, make_torch(torch_gpt2, torch.nn).double()).double()
    x = normal(2, 5, 6)
    ours_x, theirs_x = Tensor(x, requires_grad=True), torch.from_numpy(x).requires_grad_()
    ours_y, theirs_y = ours(ours_x), theirs(theirs_x)
    g = normal(*ours_y.shape, seed=2)
    ours_y.backward(g)
    theirs_y.backward(torch.from_numpy(g))
    np.testing.assert_allclose(ours_y.numpy(), theirs_y.detach().numpy(), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(ours_x.grad.numpy(), theirs_x.grad.numpy(), rtol=1e-10, atol=1e-10)
    expected = torch_gpt2.gradients(theirs)
    assert expected.keys() == dict(ours.named_parameters()).keys()
    for key, p in ours.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), expected[key], rtol=1e-10, atol=1e-10, err_msg=key)


def test_an_embedding_does_what_torchs_does():
    torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")
    ours = randomised(Embedding(7, 4))
    theirs = torch.nn.Embedding.from_pretrained(torch.from_numpy(ours.weight.numpy().copy()), freeze=False)
    ids, g = np.array([[0, 3, 3], [6, 0, 3]]), normal(2, 3, 4)
    y = ours(ids)
    y.backward(g)
    expected = theirs(torch.from_numpy(ids))
    expected.backward(torch.from_numpy(g))
    assert np.array_equal(y.numpy(), expected.detach().numpy())
    np.testing.assert_allclose(ours.weight.grad.numpy(), theirs.weight.grad.numpy(), rtol=1e-12, atol=1e-12)


def test_layers_run_on_every_backend(backend):
    block = Block(8, 2, generator(), n_layer=1, dropout=0.2, qkv_bias=True, eps=1e-5)
    x = Tensor(backend.from_numpy(normal(2, 5, 8).astype(np.float32)))
    y = block(x)
    y.sum().backward()
    assert isinstance(y.data, backend.array_type)
    assert all(isinstance(p.grad.data, backend.array_type) for p in block.parameters())
