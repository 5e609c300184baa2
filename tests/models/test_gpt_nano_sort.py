"""Real weights that were trained elsewhere: a minGPT that sorts six digits, with PyTorch's own intermediate values."""

import itertools
import json
import shutil

import numpy as np
import pytest

from tinygrad_gpt import no_grad, ops
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.models.gpt2 import GPT2

BOUND = 1e-5


@pytest.fixture(scope="module")
def folder(shared_data, tmp_path_factory):
    """The model with what its weights do not tell: three heads."""
    source, folder = shared_data / "models" / "gpt-nano-sort", tmp_path_factory.mktemp("sort")
    if not source.is_dir():
        pytest.skip(f"the trained model is not here: {source}")
    shutil.copy(source / "model.safetensors", folder)
    shutil.copy(source / "partials.npz", folder)
    (folder / "config.json").write_text(json.dumps({"n_head": 3}))
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return GPT2.from_pretrained(folder)


def intermediate_values(model, ids):
    """Every value that partials.npz has, by its name: embeddings, the inside of block 0, blocks, head."""
    block, config = model.h[0], model.config
    batch, length = ids.shape
    heads = (batch, length, config.n_head, config.n_embd // config.n_head)
    values = {"idx": Tensor(ids), "tok_emb": model.wte(ids)}
    values["pos_emb"] = model.wpe.weight[:length].reshape(1, length, -1)
    values["x"] = x = values["tok_emb"] + values["pos_emb"]
    values["ln1"] = block.ln_1(x)
    values["qkv"] = block.attn.c_attn(values["ln1"])
    width = config.n_embd
    for i, name in enumerate("qkv"):
        values[name] = values["qkv"][..., i * width:(i + 1) * width].reshape(heads).transpose(1, 2)
    causal = np.tril(np.ones((length, length), bool))
    scores = values["q"] @ values["k"].transpose(2, 3) / np.sqrt(np.float32(heads[3]))
    values["att"] = Tensor(np.where(causal, scores.numpy(), -np.inf))
    values["attSm"] = values["att"].softmax()
    values["y"] = (values["attSm"] @ values["v"]).transpose(1, 2).reshape(batch, length, width)
    values["yProj"] = block.attn(values["ln1"])
    values["attnResid"] = x + values["yProj"]
    values["ln2"] = block.ln_2(values["attnResid"])
    values["fc"] = block.mlp.c_fc(values["ln2"])
    values["gelu"] = ops.gelu(values["fc"])
    values["mlp"] = block.mlp(values["ln2"])
    values["mlpResid"] = values["attnResid"] + values["mlp"]
    for i, layer in enumerate(model.h):
        values[f"block{i}"] = x = layer(x)
    values["ln_f"] = model.ln_f(x)
    values["lm_head"] = model(ids)
    values["probs"] = values["lm_head"].softmax()
    return values


def test_every_intermediate_value_is_pytorchs(model, folder):
    with np.load(folder / "partials.npz") as archive:
        partials = dict(archive)
    with no_grad():
        ours = intermediate_values(model, partials["idx"].astype(np.int64))
    assert partials.keys() == ours.keys()
    worst = {}
    for name, expected in partials.items():
        found = ours[name].numpy()
        assert found.shape == expected.shape, name
        hidden = ~np.isfinite(expected)  # masked scores
        assert np.array_equal(found[hidden], expected[hidden]), name
        worst[name] = float(np.abs(found[~hidden] - expected[~hidden]).max())
    print("worst difference:", max(worst.items(), key=lambda item: item[1]))
    assert {name: error for name, error in worst.items() if not error <= BOUND} == {}


def test_it_sorts_every_input(model):
    """6 digits from 0 to 2 are followed by the same digits in order; each next one is the likeliest."""
    digits = np.array(list(itertools.product(range(3), repeat=6)))  # (729, 6)
    ids = digits
    with no_grad():
        for _ in range(6):
            ids = np.concatenate([ids, model(ids).numpy()[:, -1:].argmax(axis=-1)], axis=1)
    right = (ids[:, 6:] == np.sort(digits, axis=1)).all(axis=1)
    assert (int(right.sum()), len(right)) == (729, 729)


def test_its_head_is_its_own(model):
    assert model.lm_head is not None
    assert (model.config.vocab_size, model.config.n_ctx, model.config.n_layer) == (3, 11, 3)
