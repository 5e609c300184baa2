"""The listings of chapter 4 with the values that the book prints."""

import functools
import re

import numpy as np
import pytest
from listings import load
from printed import assert_prints, corners

SMALL = {"vocab_size": 50257, "context_length": 16, "emb_dim": 24, "n_heads": 4, "n_layers": 2, "drop_rate": 0.1,
         "qkv_bias": False}


@pytest.fixture
def chapter(listing):
    return listing("chapter_4")


@pytest.fixture(scope="module")
def gpt():
    """The listing with our package and its model of 163 million parameters."""
    chapter = load("chapter_4", "tinygrad_gpt")
    chapter.torch.manual_seed(123)
    return chapter, chapter.GPTModel(chapter.GPT_CONFIG_124M)


@functools.cache
def small(library):
    """The listing with a small model of its own initial values, in training mode."""
    chapter = load("chapter_4", library)
    chapter.torch.manual_seed(123)
    return chapter, chapter.GPTModel(SMALL)


def test_4_1_dummy_gpt_model(chapter):
    batch = chapter.two_texts()
    assert batch.tolist() == [[6109, 3626, 6100, 345], [6109, 1110, 6622, 257]]
    chapter.torch.manual_seed(123)
    logits = chapter.DummyGPTModel(chapter.GPT_CONFIG_124M)(batch)
    assert tuple(logits.shape) == (2, 4, 50257)
    assert_prints(corners(logits.detach().numpy()), """
        [[[-1.2034,  0.3201, -0.7130,  ..., -1.5548, -0.2390, -0.4667],
          [-0.1192,  0.4539, -0.4432,  ...,  0.2392,  1.3469,  1.2430],
          [ 0.5307,  1.6720, -0.4695,  ...,  1.1966,  0.0111,  0.5835],
          [ 0.0139,  1.6755, -0.3388,  ...,  1.1586, -0.0435, -1.0400]],
         [[-1.0908,  0.1798, -0.9484,  ..., -1.6047,  0.2439, -0.4530],
          [-0.7860,  0.5581, -0.0610,  ...,  0.4835, -0.0077,  1.6621],
          [ 0.3567,  1.2698, -0.6398,  ..., -0.0162, -0.1296,  0.3717],
          [-0.2407, -0.7349, -0.5102,  ...,  2.0057, -0.3694,  0.1814]]]""")


def test_4_2_normalizing(chapter):
    _, out, out_norm = chapter.normalizing()
    assert_prints(out.detach().numpy(), """
        [[0.2260, 0.3470, 0.0000, 0.2216, 0.0000, 0.0000],
         [0.2133, 0.2394, 0.0000, 0.5198, 0.3297, 0.0000]]""")
    assert_prints(out_norm.detach().numpy(), """
        [[ 0.6159,  1.4126, -0.8719,  0.5872, -0.8719, -0.8719],
         [-0.0189,  0.1121, -1.0876,  1.5173,  0.5647, -1.0876]]""")


def test_4_2_layer_norm(chapter):
    batch_example, _, _ = chapter.normalizing()
    out = chapter.LayerNorm(emb_dim=5)(batch_example)
    assert_prints(out.mean(dim=-1).detach().numpy(), "0.0000 0.0000")
    assert_prints(out.var(dim=-1, unbiased=False).detach().numpy(), "1.0000 1.0000")


def test_4_3_gelu_and_feed_forward(chapter):
    gelu, relu = chapter.GELU(), chapter.nn.ReLU()
    x = chapter.torch.linspace(-3, 3, 100)
    assert_prints(gelu(x).numpy()[[0, 25, 99]], "-0.0036 -0.1024 2.9964")
    assert_prints(relu(x).numpy()[[0, 25, 99]], "0.0000 0.0000 3.0000")
    out = chapter.FeedForward(chapter.GPT_CONFIG_124M)(chapter.torch.rand(2, 3, 768))
    assert tuple(out.shape) == (2, 3, 768)


@pytest.mark.parametrize(("use_shortcut", "printed"), [
    (False, """0.00020173587836325169 0.0001201116101583466 0.0007152041653171182 0.001398873864673078
               0.005049646366387606"""),
    (True, "0.22169792652130127 0.20694105327129364 0.32896995544433594 0.2665732502937317 1.3258541822433472"),
])
def test_4_4_example_deep_neural_network(chapter, use_shortcut, printed, capsys):
    torch = chapter.torch
    torch.manual_seed(123)
    model = chapter.ExampleDeepNeuralNetwork([3, 3, 3, 3, 3, 1], use_shortcut=use_shortcut)
    chapter.print_gradients(model, torch.tensor([[1., 0., -1.]]))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [f"layers.{i}.0.weight" for i in range(5)]
    np.testing.assert_allclose([float(line.split()[-1]) for line in lines], np.array(printed.split(), float), rtol=2e-6)


def test_4_5_transformer_block(chapter):
    torch = chapter.torch
    torch.manual_seed(123)
    x = torch.rand(2, 4, 768)
    output = chapter.TransformerBlock(chapter.GPT_CONFIG_124M)(x)
    assert tuple(output.shape) == (2, 4, 768)


def test_4_6_gpt_model(gpt):
    chapter, model = gpt
    with chapter.torch.no_grad():
        out = model(chapter.two_texts())
    assert_prints(corners(out.numpy()), """
        [[[ 0.3613,  0.4222, -0.0711,  ...,  0.3483,  0.4661, -0.2838],
          [-0.1792, -0.5660, -0.9485,  ...,  0.0477,  0.5181, -0.3168],
          [ 0.7120,  0.0332,  0.1085,  ...,  0.1018, -0.4327, -0.2553],
          [-1.0076,  0.3418, -0.1190,  ...,  0.7195,  0.4023,  0.0532]],
         [[-0.2564,  0.0900,  0.0335,  ...,  0.2659,  0.4454, -0.6806],
          [ 0.1230,  0.3653, -0.2074,  ...,  0.7705,  0.2710,  0.2246],
          [ 1.0558,  1.0318, -0.2800,  ...,  0.6936,  0.3205, -0.3178],
          [-0.1565,  0.3926,  0.3288,  ...,  1.2630, -0.1858,  0.0388]]]""")


def test_4_6_sizes(gpt, capsys):
    chapter, model = gpt
    chapter.print_sizes(model)
    printed = capsys.readouterr().out
    assert re.findall(r"[\d,]+ *$|[\d.]+ MB$", printed, re.MULTILINE) == ["163,009,536", "124,412,160", "621.83 MB"]
    # Exercise 4.1
    block = model.trf_blocks[0]
    assert sum(p.numel() for p in block.ff.parameters()) == 4_722_432
    assert sum(p.numel() for p in block.att.parameters()) == 2_360_064


def test_4_7_generate_text_simple(gpt):
    chapter, model = gpt
    assert chapter.hello(model, max_new_tokens=3) == "Hello, I am Featureiman Bye"


def test_a_small_model_gives_the_logits_and_gradients_of_pytorch():
    pytest.importorskip("torch", reason="the same listing with torch")
    results = []
    for library in ("tinygrad_gpt", "torch"):
        chapter, model = small(library)
        torch = chapter.torch
        torch.manual_seed(7)  # of the dropout masks
        batch = torch.tensor([[6109, 3626, 6100, 345], [6109, 1110, 6622, 257]])
        logits = model(batch)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.flatten())
        loss.backward()
        results.append([logits.detach().numpy(), *(p.grad.numpy() for p in model.parameters())])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5 * np.abs(theirs).max())
