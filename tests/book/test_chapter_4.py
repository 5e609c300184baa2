"""Chapter 4: a GPT model from scratch to generate text."""

import numpy as np
import pytest
from printed import assert_prints, corners, linear

from tinygrad_gpt import Tensor, ops
from tinygrad_gpt.book.torch_dropout import use_torch_dropout
from tinygrad_gpt.engine import no_grad
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.nn import MLP, Block, LayerNorm
from tinygrad_gpt.random import TorchStream

# "Every effort moves you", "Every day holds a"
BATCH = np.array([[6109, 3626, 6100, 345], [6109, 1110, 6622, 257]])


@pytest.fixture(scope="module")
def ten_tokens(untrained):
    """Section 4.7: "Hello, I am" and the ten most probable tokens that follow."""
    model, ids = untrained(1024)[0].eval(), [15496, 11, 314, 716]
    with no_grad():
        for _ in range(10):
            ids.append(int(model(np.array([ids])).numpy()[0, -1].argmax()))
    return ids


@pytest.fixture
def out():
    """Section 4.2: Linear(5, 6) and ReLU on two examples of five numbers."""
    stream = TorchStream(123)
    examples = Tensor(stream.normal(2, 5))
    return ops.relu(linear(stream, 5, 6)(examples))


def test_4_1_the_batch(tokenizer):
    assert [tokenizer.encode(text) for text in ("Every effort moves you", "Every day holds a")] == BATCH.tolist()


def test_4_1_dummy_model():
    stream = TorchStream(123)
    wte, wpe = Tensor(stream.normal(50257, 768)), Tensor(stream.normal(1024, 768))
    head = linear(stream, 768, 50257, bias=False)
    x = ops.embedding(wte, BATCH) + wpe[:4]  # its blocks and norms do nothing, its dropout does
    logits = head(ops.dropout(x, stream.keep(0.1, 2, 4, 768), p=0.1))
    assert logits.shape == (2, 4, 50257)
    assert_prints(corners(logits.numpy()), """
        [[[-1.2034,  0.3201, -0.7130,  ..., -1.5548, -0.2390, -0.4667],
          [-0.1192,  0.4539, -0.4432,  ...,  0.2392,  1.3469,  1.2430],
          [ 0.5307,  1.6720, -0.4695,  ...,  1.1966,  0.0111,  0.5835],
          [ 0.0139,  1.6755, -0.3388,  ...,  1.1586, -0.0435, -1.0400]],
         [[-1.0908,  0.1798, -0.9484,  ..., -1.6047,  0.2439, -0.4530],
          [-0.7860,  0.5581, -0.0610,  ...,  0.4835, -0.0077,  1.6621],
          [ 0.3567,  1.2698, -0.6398,  ..., -0.0162, -0.1296,  0.3717],
          [-0.2407, -0.7349, -0.5102,  ...,  2.0057, -0.3694,  0.1814]]]""")


def test_4_2_normalizing_by_hand(out):
    assert_prints(out.numpy(), """
        [[0.2260, 0.3470, 0.0000, 0.2216, 0.0000, 0.0000],
         [0.2133, 0.2394, 0.0000, 0.5198, 0.3297, 0.0000]]""")
    mean = out.mean(axis=-1, keepdims=True)
    variance = ((out - mean) ** 2).sum(axis=-1, keepdims=True) / 5  # unbiased, as in the book at this point
    assert_prints(mean.numpy(), "[[0.1324], [0.2170]]")
    assert_prints(variance.numpy(), "[[0.0231], [0.0398]]")
    assert_prints(((out - mean) / variance.sqrt()).numpy(), """
        [[ 0.6159,  1.4126, -0.8719,  0.5872, -0.8719, -0.8719],
         [-0.0189,  0.1121, -1.0876,  1.5173,  0.5647, -1.0876]]""")


def test_4_2_layer_norm():
    y = LayerNorm(5)(Tensor(TorchStream(123).normal(2, 5))).numpy()
    assert_prints(y.mean(axis=-1), "0.0000 0.0000")
    assert_prints(y.var(axis=-1), "1.0000 1.0000")


def test_4_3_feed_forward():
    assert MLP(768, None, proj_std=0.02)(Tensor(TorchStream(123).uniform(2, 3, 768))).shape == (2, 3, 768)


@pytest.mark.parametrize(("shortcut", "printed"), [
    (False, """0.00020173587836325169 0.0001201116101583466 0.0007152041653171182 0.001398873864673078
               0.005049646366387606"""),
    (True, "0.22169792652130127 0.20694105327129364 0.32896995544433594 0.2665732502937317 1.3258541822433472"),
])
def test_4_4_gradients_with_and_without_shortcuts(shortcut, printed):
    stream = TorchStream(123)
    layers = [linear(stream, 3, n_out) for n_out in (3, 3, 3, 3, 1)]
    x = Tensor([[1.0, 0.0, -1.0]])
    for layer in layers:
        y = ops.gelu(layer(x))
        x = x + y if shortcut and x.shape == y.shape else y
    (x * x).mean().backward()  # mean squared error to a target of 0
    means = [np.abs(layer.weight.grad.numpy()).mean() for layer in layers]
    np.testing.assert_allclose(means, np.array(printed.split(), float), rtol=2e-6)


def test_4_5_transformer_block():
    block = Block(768, 12, None, n_layer=12, dropout=0.1, qkv_bias=False, eps=1e-5)
    assert block(Tensor(TorchStream(123).uniform(2, 4, 768))).shape == (2, 4, 768)


def test_4_6_logits(untrained):
    model, stream = untrained(1024)
    use_torch_dropout(model.train(), stream)  # the book has not called eval() yet
    with no_grad():
        logits = model(BATCH).numpy()
    assert logits.shape == (2, 4, 50257)
    assert_prints(corners(logits), """
        [[[ 0.3613,  0.4222, -0.0711,  ...,  0.3483,  0.4661, -0.2838],
          [-0.1792, -0.5660, -0.9485,  ...,  0.0477,  0.5181, -0.3168],
          [ 0.7120,  0.0332,  0.1085,  ...,  0.1018, -0.4327, -0.2553],
          [-1.0076,  0.3418, -0.1190,  ...,  0.7195,  0.4023,  0.0532]],
         [[-0.2564,  0.0900,  0.0335,  ...,  0.2659,  0.4454, -0.6806],
          [ 0.1230,  0.3653, -0.2074,  ...,  0.7705,  0.2710,  0.2246],
          [ 1.0558,  1.0318, -0.2800,  ...,  0.6936,  0.3205, -0.3178],
          [-0.1565,  0.3926,  0.3288,  ...,  1.2630, -0.1858,  0.0388]]]""")


def test_4_6_number_of_parameters():
    model = GPT2(GPT2Config(qkv_bias=False, tied_head=False), seed=None)
    assert model.size == 163_009_536
    assert model.size - model.lm_head.size == 124_412_160
    assert f"{model.size * 4 / 2**20:.2f} MB" == "621.83 MB"
    # Exercise 4.1
    assert model.h[0].mlp.size == 4_722_432
    assert model.h[0].attn.size == 2_360_064


@pytest.mark.parametrize(("n_embd", "n_layer", "n_head", "separate", "tied"), [
    (1024, 24, 16, 406_212_608, 354_749_440),
    (1280, 36, 20, 838_220_800, 773_891_840),
    (1600, 48, 25, 1_637_792_000, 1_557_380_800),
])
def test_4_6_exercise_4_2_larger_models(n_embd, n_layer, n_head, separate, tied):
    sizes = {"n_embd": n_embd, "n_layer": n_layer, "n_head": n_head, "qkv_bias": False}
    one_block = GPT2(GPT2Config(**(sizes | {"n_layer": 1})), seed=None)  # the zeros of 48 would fill the memory
    size = one_block.size + (n_layer - 1) * one_block.h[0].size
    assert size == tied
    assert size + 50257 * n_embd == separate


def test_4_7_ten_tokens(ten_tokens):
    # The book prints six, its script gpt.py ten.
    assert ten_tokens == [15496, 11, 314, 716, 27018, 24086, 47843, 30961, 42348, 7267, 49706, 43231, 47062, 34657]


def test_4_7_ten_tokens_as_text(ten_tokens, tokenizer):
    assert tokenizer.encode("Hello, I am") == ten_tokens[:4]
    assert tokenizer.decode(ten_tokens[:10]) == "Hello, I am Featureiman Byeswickattribute argue"
    assert tokenizer.decode(ten_tokens[10:]) == " logger Normandy Compton analogous"
