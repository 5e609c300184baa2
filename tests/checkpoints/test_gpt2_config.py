"""What config.json and the shapes say; settings that this package does not have are refused by name."""

import published
import pytest

from tinygrad_gpt.checkpoints.gpt2_config import TANH_GELU, from_published, shapes_of, to_published
from tinygrad_gpt.errors import CheckpointError
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config

SHAPES = {name: array.shape for name, array in published.weights().items()}


def test_sizes_come_from_the_shapes_where_the_config_is_silent():
    assert from_published({"n_head": 2, "layer_norm_epsilon": 1e-6}, SHAPES) == {
        "vocab_size": 11, "n_ctx": 7, "n_embd": 6, "n_layer": 2, "n_head": 2, "layer_norm_epsilon": 1e-6,
        "tied_head": True, "qkv_bias": True}


@pytest.mark.parametrize(("width", "n_head"), [(768, 12), (1024, 16), (1280, 20), (1600, 25)])
def test_heads_of_the_published_widths(width, n_head):
    shapes = shapes_of(GPT2Config(3, 2, width, 1, n_head).to_dict())
    assert from_published(None, shapes)["n_head"] == n_head


def test_a_config_that_does_not_say_the_heads_means_12_as_in_transformers():
    shapes = shapes_of(GPT2Config(3, 2, 1536, 1, 12).to_dict())
    assert from_published({"model_type": "gpt2"}, shapes)["n_head"] == 12
    with pytest.raises(CheckpointError, match="n_embd is 1024, not a multiple of n_head = 12"):
        from_published({"model_type": "gpt2"}, shapes_of(GPT2Config(3, 2, 1024, 1, 16).to_dict()))


ALIASES = {"max_position_embeddings": "n_positions", "hidden_size": "n_embd", "num_hidden_layers": "n_layer",
           "num_attention_heads": "n_head"}


def test_the_aliases_are_those_of_transformers():
    transformers = pytest.importorskip("transformers", reason="transformers, the oracle, is not installed")
    assert transformers.GPT2Config.attribute_map == ALIASES


@pytest.mark.parametrize("alias", ALIASES)
def test_a_size_may_have_its_general_name(alias):
    shapes = shapes_of(GPT2Config(11, 24, 768, 2, 8).to_dict())
    own = {"n_positions": 24, "n_embd": 768, "n_layer": 2, "n_head": 8}
    general = {(alias if ALIASES[alias] == name else name): size for name, size in own.items()}
    assert from_published(general, shapes) == from_published(own, shapes)
    assert from_published(own | general, shapes) == from_published(own, shapes)
    name = ALIASES[alias]
    with pytest.raises(CheckpointError, match=f"{name} is {own[name]} but {alias} is 4; give a GPT-2"):
        from_published({**own, alias: 4}, shapes)
    with pytest.raises(CheckpointError, match=f"{alias} is 2.5, not a whole number"):
        from_published({**general, alias: 2.5}, shapes)


@pytest.mark.parametrize("name", TANH_GELU)
def test_other_names_of_the_same_activation(name):
    assert from_published({"n_head": 3, "activation_function": name}, SHAPES) == from_published({"n_head": 3}, SHAPES)


def test_these_activations_are_the_same_in_transformers():
    torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")
    activations = pytest.importorskip("transformers.activations", reason="transformers is not installed").ACT2FN
    x = torch.linspace(-6, 6, 4001, dtype=torch.float64)
    same = {name for name in activations if name.startswith("gelu")
            and (activations[name](x) - activations["gelu_new"](x)).abs().max() < 1e-11}
    assert same == set(TANH_GELU)


@pytest.mark.parametrize(("content", "why"), [
    ({"activation_function": "gelu"}, "activation_function is 'gelu'"),
    ({"activation_function": None}, "activation_function is None"), ({"activation_function": []}, "is []"),
    ({"activation_function": "relu"}, "activation_function is 'relu', and only 'gelu_new' is known here"),
    ({"model_type": "gpt_neo"}, "model_type is 'gpt_neo'"),
    ({"add_cross_attention": True}, "add_cross_attention is True"),
    ({"scale_attn_weights": False}, "scale_attn_weights is False"),
    ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is True"),
    ({"is_encoder_decoder": True}, "is_encoder_decoder is True"),
    ({"n_inner": 25}, "n_inner is 25, and only 4 n_embd = 24"), ({"n_inner": "24"}, "n_inner is '24'"),
    ({"n_head": 4}, "n_embd is 6, not a multiple of n_head = 4"), ({"n_head": 0}, "n_head is 0, not a whole number"),
    ({"n_head": True}, "n_head is True"), ({"n_layer": 2.0}, "n_layer is 2.0"), ({"n_layer": -1}, "n_layer is -1"),
    ({"vocab_size": "11"}, "vocab_size is '11'"), ({"n_embd": 10**400}, "n_embd is 1000"),
    ({"n_layer": 29}, "n_layer is 29, but the file has 28 tensors"),
    ({"layer_norm_epsilon": 0}, "layer_norm_epsilon is 0"), ({"layer_norm_epsilon": float("nan")}, "epsilon is nan"),
    ({"layer_norm_epsilon": "1e-5"}, "layer_norm_epsilon is '1e-5'"), ({"layer_norm_epsilon": None}, "is None"),
    ({"tie_word_embeddings": "yes"}, "tie_word_embeddings is 'yes'"),
    ({"activation_function": "a" * 999}, "activation_function is 'aaa"),
])
def test_what_is_refused(content, why):
    with pytest.raises(CheckpointError) as caught:
        from_published({"n_head": 3, **content}, SHAPES)
    assert why in str(caught.value)
    assert len(str(caught.value)) < 300


def test_all_settings_that_are_wrong_are_named_at_once():
    with pytest.raises(CheckpointError, match=r"model_type is 't5'.*n_layer is 0.*layer_norm_epsilon is 7"):
        from_published({"model_type": "t5", "n_layer": 0, "layer_norm_epsilon": 7}, SHAPES)


def test_settings_that_change_nothing_here_pass():
    content = {"n_head": 3, "n_inner": 24, "attn_pdrop": 0.3, "reorder_and_upcast_attn": True, "use_cache": False}
    assert from_published(content, SHAPES) == from_published({"n_head": 3}, SHAPES)


@pytest.mark.parametrize("qkv_bias", [True, False])
@pytest.mark.parametrize("tied_head", [True, False])
def test_shapes_are_those_of_the_model(qkv_bias, tied_head):
    config = GPT2Config(11, 7, 6, 2, 3, qkv_bias=qkv_bias, tied_head=tied_head)
    own = {name: array.shape for name, array in GPT2(config).arrays().items()}
    if not tied_head:
        own["lm_head.weight"] = own["lm_head.weight"][::-1]
    assert shapes_of(config.to_dict()) == own


def test_there_and_back():
    config = GPT2Config(11, 7, 6, 2, 3, dropout=0.1, layer_norm_epsilon=1e-6).to_dict()
    assert {**from_published(to_published(config, 10), SHAPES), "dropout": 0.1} == config
