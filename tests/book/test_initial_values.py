"""The initial values of the book's model."""

import numpy as np
import pytest

from tinygrad_gpt.book.initial_values import initial_values, new_model
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.random import TorchStream

SIZES = {"vocab_size": 11, "n_ctx": 6, "n_embd": 8, "n_layer": 2}


def test_a_new_model_has_the_values_that_are_asked_for():
    config = GPT2Config(**SIZES, n_head=2, qkv_bias=False, tied_head=False)
    ours, book = (new_model(config, init, 3).arrays() for init in ("gpt2", "book"))
    assert all(np.array_equal(book[name], value) for name, value in initial_values(TorchStream(3), **SIZES).items())
    assert all(np.array_equal(ours[name], value) for name, value in GPT2(config, seed=3).arrays().items())


@pytest.mark.parametrize("qkv_bias", [True, False])
@pytest.mark.parametrize("tied_head", [True, False])
def test_book_fits_the_model(qkv_bias, tied_head):
    model = GPT2(GPT2Config(**SIZES, n_head=2, qkv_bias=qkv_bias, tied_head=tied_head), seed=None)
    state = initial_values(TorchStream(3), **SIZES, qkv_bias=qkv_bias, tied_head=tied_head)
    model.load_state_dict(state)
    assert all(value.dtype == np.float32 for value in state.values())
    assert np.array_equal(model.wte.weight.numpy(), TorchStream(3).normal(11, 8))


def test_book_makes_the_layers_in_the_order_of_the_book():
    stream, state = TorchStream(3), initial_values(TorchStream(3), **SIZES, qkv_bias=True)
    assert np.array_equal(state["wte.weight"], stream.normal(11, 8))
    assert np.array_equal(state["wpe.weight"], stream.normal(6, 8))
    for i in range(2):
        for part in range(3):  # queries, keys, values
            weight, bias = stream.linear(8, 8)
            columns = slice(8 * part, 8 * part + 8)
            assert np.array_equal(state[f"h.{i}.attn.c_attn.weight"][:, columns], weight.T)
            assert np.array_equal(state[f"h.{i}.attn.c_attn.bias"][columns], bias)
        for name, sizes in (("attn.c_proj", (8, 8)), ("mlp.c_fc", (8, 32)), ("mlp.c_proj", (32, 8))):
            weight, bias = stream.linear(*sizes)
            assert np.array_equal(state[f"h.{i}.{name}.weight"], weight.T)
            assert np.array_equal(state[f"h.{i}.{name}.bias"], bias)
    assert np.array_equal(state["lm_head.weight"], stream.linear(8, 11, bias=False)[0].T)
    assert (state["h.1.ln_2.weight"] == 1).all()
    assert not state["ln_f.bias"].any()


def test_book_leaves_the_stream_where_the_model_ends():
    stream = TorchStream(3)
    initial_values(stream, **SIZES)
    again = TorchStream(3)
    initial_values(again, **SIZES, tied_head=True)
    again.linear(8, 11, bias=False)
    assert np.array_equal(stream.uniform(4), again.uniform(4))
