import numpy as np
import pytest

from tinygrad_gpt.book.initial_values import initial_values
from tinygrad_gpt.book.torch_stream import TorchStream
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.nn import init

SIZES = {"vocab_size": 11, "n_ctx": 6, "n_embd": 8, "n_layer": 2}


def test_normal_is_float32_with_the_standard_deviation_asked_for():
    values = init.normal(np.random.default_rng(0), 300, 400)
    assert values.shape == (300, 400)
    assert values.dtype == np.float32
    assert abs(values.mean()) < 4 * 0.02 / np.sqrt(values.size)
    assert abs(values.std() / 0.02 - 1) < 4 / np.sqrt(2 * values.size)


def test_normal_is_a_function_of_the_generator():
    draw = [init.normal(np.random.default_rng(3), 5, std=0.5) for _ in range(2)]
    assert np.array_equal(*draw)
    assert not np.array_equal(draw[0], init.normal(np.random.default_rng(4), 5, std=0.5))


def test_zeros_and_ones_are_float32():
    assert init.zeros(2, 3).dtype == init.ones(2).dtype == np.float32
    assert not init.zeros(2, 3).any()
    assert (init.ones(2) == 1).all()


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
