"""`Bert` by definition: what its parts compute, written out in NumPy, and what it refuses."""

import math

import numpy as np
import pytest

from tinygrad_gpt.engine import no_grad
from tinygrad_gpt.errors import ShapeError, UsageError
from tinygrad_gpt.models.bert import Bert, BertConfig

TINY = {"vocab_size": 23, "n_ctx": 7, "n_embd": 6, "n_layer": 2, "n_head": 3, "n_inner": 10}
IDS = np.array([[1, 2, 3, 4], [5, 6, 0, 0]])
VISIBLE = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], bool)


def model_of(seed=0, **settings):
    """A model whose biases and norms are random, too."""
    model, generator = Bert(BertConfig(**TINY | settings)), np.random.default_rng(seed)
    for parameter in model.parameters():
        parameter.data = (parameter.numpy() + generator.normal(0, 0.1, parameter.shape)).astype(np.float64)
    return model.eval()


def norm(x, layer):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + layer.eps) * layer.weight.numpy() + layer.bias.numpy()


def linear(x, layer):
    return x @ layer.weight.numpy() + layer.bias.numpy()


def attended(block, x):
    """A text (T, C) in the attention of a block, one head after the other."""
    q, k, v = np.split(linear(x, block.attn.c_attn), 3, axis=-1)
    heads = []
    for part in np.split(np.arange(x.shape[-1]), block.attn.n_head):
        scores = np.exp(q[:, part] @ k[:, part].T / math.sqrt(len(part)))
        heads.append(scores / scores.sum(-1, keepdims=True) @ v[:, part])
    return linear(np.concatenate(heads, -1), block.attn.c_proj)


ACTIVATED = {
    "gelu": np.vectorize(lambda x: x / 2 * (1 + math.erf(x / math.sqrt(2)))),
    "gelu_new": lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0),
}


@pytest.mark.parametrize("activation", ACTIVATED)
@pytest.mark.parametrize("n_types", [0, 1, 2])
def test_each_text_alone_without_padding_gives_the_same(activation, n_types):
    model = model_of(activation=activation, n_types=n_types)
    hidden = model(IDS, VISIBLE).numpy()
    for ids, visible, found in zip(IDS, VISIBLE, hidden, strict=True):
        ids = ids[visible]
        x = model.wte.weight.numpy()[ids] + model.wpe.weight.numpy()[:len(ids)]
        x = norm(x + (model.wtt.weight.numpy()[0] if n_types else 0), model.ln_e)
        for block in model.h:
            x = norm(x + attended(block, x), block.ln_1)
            x = norm(x + linear(ACTIVATED[activation](linear(x, block.mlp.c_fc)), block.mlp.c_proj), block.ln_2)
        np.testing.assert_allclose(found[visible], x, rtol=1e-9, atol=1e-9)


def test_token_types_are_added():
    model, types = model_of(), np.array([[0, 0, 1, 1], [0, 1, 0, 0]])
    mixed, zeros = (model.embed(IDS, kinds).numpy() for kinds in (types, types * 0))
    assert np.array_equal(zeros, model.embed(IDS).numpy())
    assert np.array_equal((mixed != zeros).any(-1), types == 1)


def test_some_positions_of_a_block_are_those_of_the_whole():
    model = model_of()
    x = model.embed(IDS)
    rows = x[:, :1]
    np.testing.assert_allclose(model.h[0].over(rows, x, VISIBLE).numpy(), model.h[0](x, VISIBLE).numpy()[:, :1],
                               rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("pooler", "expected"), [("none", lambda y: y), ("tanh", np.tanh),
                                                  ("relu", lambda y: np.maximum(y, 0))])
def test_pooler(pooler, expected):
    model = model_of(pooler=pooler)
    x = model(IDS, VISIBLE)[:, 0]
    before = x.numpy() if pooler == "none" else linear(x.numpy(), model.pooler)
    np.testing.assert_allclose(model.pool(x).numpy(), expected(before), rtol=1e-12, atol=1e-12)
    assert [*map(type, model.ends)] == [type(model.pooler)] * (pooler != "none")


def test_dropout_is_in_training_only():
    model = model_of(dropout=0.5)
    with no_grad():
        answers = [model(IDS, VISIBLE).numpy() for _ in range(2)]
        trained = [model.train()(IDS, VISIBLE).numpy() for _ in range(2)]
    assert np.array_equal(*answers)
    assert not np.allclose(*trained)


def test_too_long_a_text_is_refused():
    with pytest.raises(ShapeError, match=r"^Bert: 8 tokens \(ids are \(1, 8\)\), but the model's context is 7; give"):
        model_of()(np.ones((1, 8), int))


@pytest.mark.parametrize(("change", "why"), [
    ({"n_layer": 0}, "n_layer is 0, expected at least 1"), ({"n_head": 4}, "n_embd is 6, not a multiple of n_head = 4"),
    ({"activation": "silu"}, "activation is 'silu'; choose one of gelu, gelu_new, relu"),
    ({"pooler": "mean"}, "pooler is 'mean'; choose one of tanh, relu, none"),
    ({"family": "electra"}, "family is 'electra'; choose one of bert, distilbert, roberta"),
])
def test_odd_sizes_are_refused(change, why):
    with pytest.raises(UsageError, match=why):
        BertConfig(**TINY | change)


def test_flops_are_those_of_its_products():
    model = model_of()
    matrices = sum(weight.size for weight in model.h.parameters() if weight.ndim == 2)
    assert model.flops_per_token(5) == 2 * matrices + 4 * 2 * 6 * 5
    assert model.flops_per_token() == model.flops_per_token(7)
