"""Blocks as one op on a GPU give what they give one after another; on the emulated kernels."""

import cuda_on_cpu
import fake_cudnn
import numpy as np
import pytest

from tinygrad_gpt import Tensor
from tinygrad_gpt.backend import get_backend
from tinygrad_gpt.backend.precision import precision
from tinygrad_gpt.engine import checking, no_grad, using_ops
from tinygrad_gpt.engine.mode import observing
from tinygrad_gpt.errors import TapeError
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config, seed_dropout
from tinygrad_gpt.nn.stack import through
from tinygrad_gpt.parallel.group import Group, in_group

pytestmark = pytest.mark.usefixtures("emulated")

WIDTH = 24


def blocks(dtype=np.float32, n_layer=3, **settings):
    """Those of a small model, with weights that are no zeros and no ones."""
    config = GPT2Config(vocab_size=5, n_ctx=8, n_embd=WIDTH, n_layer=n_layer, n_head=3, **settings)
    return with_noise(GPT2(config), dtype).h


def with_noise(model, dtype=np.float32):
    """The model, of whose blocks no weight is 0 or 1."""
    r = np.random.default_rng(1)
    for parameter in model.h.parameters():
        noise = 0.3 * r.standard_normal(parameter.shape)
        parameter.data = get_backend("emulated").from_numpy((parameter.numpy() + noise).astype(dtype))
    return model


def given(shape, dtype=np.float32):
    x = np.random.default_rng(2).standard_normal(shape).astype(dtype)
    return Tensor(x, requires_grad=True, backend="emulated")


def one_by_one(layers, x):
    for block in layers:
        x = block(x)
    return x


def results(run, layers, x):
    """The result, and all gradients."""
    for tensor in (x, *layers.parameters()):
        tensor.zero_grad()
    y = run(layers, x)
    g = np.random.default_rng(3).standard_normal(y.shape).astype(y.dtype)
    y.backward(Tensor(g, backend="emulated"))
    leaves = [t for t in (x, *layers.parameters()) if t.grad is not None]
    return [y.numpy(), *(t.grad.numpy() for t in leaves)]


def names(run, layers, x):
    """The ops on the tape below the result."""
    node, found = run(layers, x).node, set()
    while node.op is not None:
        found.add(node.op.name)
        node = node.inputs[0]
    return found


def difference(ours, theirs):
    """The largest, relative to the size of each array."""
    assert len(ours) == len(theirs)
    return max(np.abs(a - b).max() / max(1, np.abs(b).max()) for a, b in zip(ours, theirs, strict=True))


SHAPES = [(2, 5, WIDTH), (1, 1, WIDTH), (19, 7, WIDTH)]  # one part of rows and several


@pytest.mark.parametrize(("dtype", "limit"), [(np.float64, 1e-12), (np.float32, 2e-5)])
@pytest.mark.parametrize("shape", SHAPES)
def test_results_and_gradients_are_those_of_the_blocks(dtype, limit, shape):
    layers, x = blocks(dtype), given(shape, dtype)
    ours, theirs = results(through, layers, x), results(one_by_one, layers, x)
    assert len(ours) == 2 + 3 * 12
    assert all(a.dtype == dtype for a in ours)
    assert difference(ours, theirs) <= limit


def mean_error(ours, exact):
    """The mean over the arrays of their error, as a root mean square in parts of that of the array."""
    return np.mean([np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(ours, exact, strict=True)])


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_halves_are_no_farther_from_float32_than_those_of_the_blocks(name):
    layers, x = blocks(), given((3, 5, WIDTH))
    exact = results(one_by_one, layers, x)
    with precision(name):
        ours, theirs = results(through, layers, x), results(one_by_one, layers, x)
    assert all(a.dtype == np.float32 for a in ours)
    assert mean_error(ours, exact) <= 1.1 * mean_error(theirs, exact)


def test_their_attention_may_be_cudnns():
    layers, x = with_noise(GPT2(GPT2Config(5, n_ctx=8, n_embd=32, n_layer=3, n_head=2))).h, given((3, 5, 32))
    exact = results(one_by_one, layers, x)
    with precision("bfloat16"):
        own = results(through, layers, x)
        with fake_cudnn.in_force() as library:
            theirs = results(through, layers, x)
    assert (library.builds, library.runs) == (2, 6)
    assert difference(theirs, own) > 0
    assert mean_error(theirs, exact) <= 1.1 * mean_error(own, exact)


def test_they_are_numpys():
    layers, x = blocks(), given((3, 6, WIDTH))
    ours = results(through, layers, x)
    with using_ops("plain"):
        theirs = results(through, layers, x)
    assert difference(ours, theirs) <= 2e-5


def test_a_layer_without_bias():
    layers, x = blocks(qkv_bias=False), given((2, 5, WIDTH))
    assert difference(results(through, layers, x), results(one_by_one, layers, x)) <= 2e-5


def test_frozen_blocks_keep_nothing_and_pass_gradients_on():
    layers, x = blocks(), given((2, 5, WIDTH))
    layers[0].freeze()
    layers[1].freeze()
    ours = results(through, layers, x)
    assert len(ours) == 2 + 12
    assert difference(ours, results(one_by_one, layers, x)) <= 2e-5
    x.requires_grad = False
    ours = results(through, layers, x)
    assert len(ours) == 1 + 12
    assert difference(ours, results(one_by_one, layers, x)) <= 2e-5


@pytest.mark.parametrize(("dtype", "limit"), [(np.float64, 1e-12), (np.float32, 2e-5)])
def test_masks_of_dropout_are_hashed_in_the_kernels(dtype, limit):
    layers, x = blocks(dtype, n_layer=2, dropout=0.4), given((2, 70, WIDTH), dtype)
    layers[1].resid_dropout.p = 0.0
    layers[0].resid_dropout.rows = layers[0].attn.attn_dropout.rows = slice(2, 4)  # of a larger batch
    found = []
    for run in (through, one_by_one):
        seed_dropout(layers, 7, 1)
        before = cuda_on_cpu.launches
        found.append((results(run, layers, x), cuda_on_cpu.launches - before, layers[0].resid_dropout.calls))
    (ours, launches, calls), (theirs, more, same_calls) = found
    assert difference(ours, theirs) <= limit
    assert launches < more / 1.5
    assert calls == same_calls == 2
    seed_dropout(layers, 7, 1)
    with precision("bfloat16"):
        assert difference([through(layers, x).numpy()], ours[:1]) <= 0.1


def test_each_block_is_one_op_where_several_processes_train():
    layers, x = blocks(), given((2, 5, WIDTH))
    expected, group = results(through, layers, x), Group()
    group.size = 2
    with in_group(group):
        node, ops = through(layers, x).node, []
        while node.op is not None:
            ops.append(node.op.name)
            node = node.inputs[0]
        found = results(through, layers, x)
    assert ops == ["blocks"] * 3
    for ours, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-4, atol=1e-5)


def test_off_the_tape():
    layers, x = blocks(), given((2, 5, WIDTH))
    with no_grad():
        assert difference([through(layers, x).numpy()], [one_by_one(layers, x).numpy()]) <= 2e-5


def test_backward_twice():
    layers, x = blocks(), given((2, 5, WIDTH))
    y = through(layers, x)
    y.sum().backward(retain_graph=True)
    first = [t.grad.numpy().copy() for t in (x, *layers.parameters())]
    y.sum().backward()
    assert difference([t.grad.numpy() for t in (x, *layers.parameters())], [2 * a for a in first]) <= 1e-6


def test_weights_changed_before_backward_are_noticed():
    layers, x = blocks(), given((2, 5, WIDTH))
    y = through(layers, x)
    layers[1].ln_2.bias.mark_changed()
    with pytest.raises(TapeError, match="changed in place"):
        y.sum().backward()


def test_copies_of_weights_follow_them():
    layers, x = blocks(n_layer=1), given((2, 5, WIDTH))
    weight = layers[0].mlp.c_fc.weight
    with precision("bfloat16"):
        before = cuda_on_cpu.launches
        through(layers, x)
        first = cuda_on_cpu.launches - before
        through(layers, x)
        assert cuda_on_cpu.launches - before == 2 * first - 1  # they are kept
        weight.data[...] = 2 * weight.data
        weight.mark_changed()
        assert difference([through(layers, x).numpy()], [one_by_one(layers, x).numpy()]) <= 0.05
    with precision("float16"):
        assert difference([through(layers, x).numpy()], [one_by_one(layers, x).numpy()]) <= 0.005


def test_what_is_not_gpt2s_block_runs_as_it_is():
    layers, x = blocks(dropout=0.5), given((2, 5, WIDTH))
    assert names(through, layers, x) == {"add"}  # dropout whose masks come from the default generator
    layers = layers.eval()
    assert names(through, layers, x) == {"blocks"}
    for mode in (checking(), using_ops("plain"), observing(lambda *_: None)):
        with mode:
            assert names(through, layers, x) == {"add"}
    seen = []
    handle = layers[1].mlp.register_forward_hook(lambda *_: seen.append(1))
    assert names(through, layers, x) > {"blocks"}
    assert seen == [1]
    handle.remove()
    layers[0].mlp.c_fc.weight.requires_grad = False
    assert names(through, layers, x) > {"blocks"}


def written(model, texts, n_new, form="fast"):
    """The logits at each of n_new tokens behind texts of different length, with a cache."""
    cache, lengths = model.new_cache(len(texts)), np.array([len(text) for text in texts])
    ids = np.zeros((len(texts), lengths.max()), np.int64)
    for row, text in zip(ids, texts, strict=True):
        row[:len(text)] = text
    found = []
    with no_grad(), using_ops(form):
        found.append(model.next_logits(get_backend("emulated").from_numpy(ids), cache, lengths).numpy())
        for step in range(n_new):
            new = get_backend("emulated").from_numpy(np.full((len(texts), 1), step % 5))
            found.append(model.next_logits(new, cache, np.ones(len(texts), int)).numpy())
    return found


@pytest.mark.parametrize("texts", [[[1, 2]], [[1, 2], [3, 4]], [[i % 5] * (1 + i % 3) for i in range(9)]])
def test_a_token_with_a_cache(texts):
    model = with_noise(GPT2(GPT2Config(vocab_size=5, n_ctx=8, n_embd=40, n_layer=2, n_head=5)))
    before = cuda_on_cpu.launches
    ours = written(model, texts, 3)
    few = cuda_on_cpu.launches - before
    assert difference(ours, written(model, texts, 3, "plain")) <= 2e-5
    assert 3 * (2 * 5 + 1) < few < 80
    for name, limit in (("float16", 0.01), ("bfloat16", 0.1)):
        with precision(name):
            assert difference(written(model, texts, 3), ours) <= limit


def test_a_long_text_is_read_by_several_blocks_of_threads():
    model = GPT2(GPT2Config(vocab_size=5, n_ctx=300, n_embd=16, n_layer=1, n_head=2, qkv_bias=False), seed=3).double()
    assert difference(written(model, [[1, 2] * 140], 2), written(model, [[1, 2] * 140], 2, "plain")) <= 1e-12


def test_rows_that_are_padding_and_large_batches_run_as_they_are():
    model = GPT2(GPT2Config(vocab_size=5, n_ctx=8, n_embd=16, n_layer=1, n_head=2), seed=3)
    for batch, lengths in ((2, [1, 0]), (33, [1] * 33)):
        found = []
        for form in ("fast", "plain"):
            cache = model.new_cache(batch)
            with no_grad(), using_ops(form):
                ids = get_backend("emulated").from_numpy(np.ones((batch, 2), int))
                model.next_logits(ids, cache, np.full(batch, 2))
                found.append(model.next_logits(ids[:, :1], cache, np.array(lengths)).numpy()[0])
        assert difference(found[:1], found[1:]) <= 2e-5
