"""How a classifier reads a text, and that only what is read is computed."""

import numpy as np
import pytest

from tinygrad_gpt import no_grad, ops
from tinygrad_gpt.backend import use_backend
from tinygrad_gpt.engine import composed_ops
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import ShapeError, UsageError
from tinygrad_gpt.models.classifier import READS, GPT2Classifier, Reading, block_at, block_over
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config, seed_dropout
from tinygrad_gpt.models.lora import apply_lora
from tinygrad_gpt.study import view_tape

CONFIG = GPT2Config(vocab_size=23, n_ctx=12, n_embd=16, n_layer=3, n_head=2)
IDS, LENGTHS = np.random.default_rng(1).integers(0, 23, (4, 12)), np.array([3, 5, 8, 12])
READINGS = [Reading(read, causal, filled=filled, start=False) for read in READS for causal in (True, False)
            for filled in (True, False)]


def classifier(reading=None, dtype=np.float64, **changes):
    model = GPT2Classifier(GPT2(GPT2Config(**(CONFIG.to_dict() | changes))), 3, reading=reading)
    for parameter in model.parameters():
        parameter.data = parameter.data.astype(dtype) * 3  # untrained scores are all but equal
    return model


def whole(model, ids, lengths):
    """The scores by way of every position of every block."""
    h = model.transformer.ln_f(model.whole_blocks(model.embed(ids), lengths))
    return model.score(model.pooled(h, lengths))


def scores(model, ids=IDS, lengths=LENGTHS):
    with no_grad():
        return model(ids, lengths).numpy()


@pytest.mark.parametrize("reading", READINGS, ids=str)
def test_what_is_read_is_what_the_whole_model_gives_there(reading):
    model = classifier(reading)
    results = []
    for form in (model, lambda ids, lengths: whole(model, ids, lengths)):
        model.zero_grad()
        loss = ops.cross_entropy(form(IDS, LENGTHS), np.array([0, 1, 2, 1]))
        loss.backward()
        results.append({"loss": loss.numpy()} | {name: p.grad.numpy() for name, p in model.named_parameters()})
    for name, value in results[0].items():
        np.testing.assert_allclose(value, results[1][name], rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("reading", READINGS, ids=str)
def test_in_single_precision_too(reading):
    model = classifier(reading, np.float32)
    with no_grad():
        np.testing.assert_allclose(scores(model), whole(model, IDS, LENGTHS).numpy(), atol=1e-6 * 3)


@pytest.mark.parametrize("reading", [r for r in READINGS if not r.filled], ids=str)
def test_padding_changes_nothing_unless_it_is_read(reading):
    model = classifier(reading)
    together = scores(model)
    for row, length in enumerate(LENGTHS):
        alone = scores(model, IDS[row:row + 1, :length], LENGTHS[row:row + 1])
        np.testing.assert_allclose(alone[0], together[row], rtol=1e-10, atol=1e-12)


def changed_by(model, row, place):
    """Whether the scores of a row depend on the token at a place."""
    ids = IDS.copy()
    ids[row, place] = (ids[row, place] + 1) % 23
    return bool((scores(model, ids)[row] != scores(model)[row]).any())


@pytest.mark.parametrize(("reading", "seen"), [
    (Reading("last-real"), {0, 2}), (Reading("last-real", causal=False), {0, 2}),
    (Reading("last-real", filled=True), {0, 2}), (Reading("last-real", causal=False, filled=True), {0, 2, 3, 11}),
    (Reading("last"), {0, 2}), (Reading("last", filled=True), {0, 2, 3, 11}),
    (Reading("first", start=False), {0}), (Reading("first", causal=False), {0, 2}),
    (Reading("mean"), {0, 2}), (Reading("mean", filled=True), {0, 2, 3, 11}),
    (Reading("concat"), {0, 2}), (Reading("concat", filled=True), {0, 2, 3, 11}),
], ids=str)
def test_which_tokens_of_a_text_of_three_decide(reading, seen):
    model = classifier(reading)
    assert {place for place in (0, 2, 3, 11) if changed_by(model, 0, place)} == seen


def test_the_mean_is_that_of_the_scores_at_all_positions():
    model = classifier(Reading("mean"))
    with no_grad():
        every = model.score(model.transformer.ln_f(model.whole_blocks(model.embed(IDS), LENGTHS))).numpy()
    expected = [row[:length].mean(axis=0) for row, length in zip(every, LENGTHS, strict=True)]
    np.testing.assert_allclose(scores(model), expected, rtol=1e-10)


def test_last_mean_and_maximum_are_side_by_side():
    model = classifier(Reading("concat"))
    with no_grad():
        every = model.transformer.ln_f(model.whole_blocks(model.embed(IDS), LENGTHS)).numpy()
    rows = [row[:length] for row, length in zip(every, LENGTHS, strict=True)]
    read = np.stack([np.concatenate([row[-1], row.mean(axis=0), row.max(axis=0)]) for row in rows])  # (B, 3 C)
    np.testing.assert_allclose(scores(model), read @ model.score.weight.numpy() + model.score.bias.numpy(), rtol=1e-10)


def test_what_goes_into_the_head_is_dropped_while_training():
    model = classifier()
    before = scores(model.eval())
    model.head_drop.p = 0.9
    np.testing.assert_array_equal(scores(model), before)
    assert (scores(model.train()) != before).any()


def test_the_last_block_is_computed_where_it_is_read():
    model = classifier()
    with no_grad():
        x = model.embed(IDS)
    model.freeze()
    model.transformer.h[-1].freeze(False)
    view = view_tape(model.scores(model.blocks(x, LENGTHS, 2), LENGTHS).sum(), model.named_parameters())
    shapes = {node.op: node.shape for node in view.nodes if node.op}
    assert (shapes["attention"], shapes["bias_gelu"]) == ((4, 1, 2, 16), (4, 1, 64))  # two heads over x, one row
    whole_view = view_tape(whole_last(model, x).sum(), model.named_parameters())
    assert view.bytes < 0.5 * whole_view.bytes


@pytest.mark.parametrize("lora", [(), ("k", "v"), ("q", "attn.c_proj")])
@pytest.mark.parametrize("bias", [True, False])
def test_a_block_at_one_position_needs_no_keys_and_values(bias, lora):
    model, r = classifier(qkv_bias=bias), np.random.default_rng(5)
    block = model.transformer.h[-1]
    if lora:
        apply_lora(block, 2, 3.0, lora)
        for _, parameter in block.named_parameters():
            parameter.data = r.standard_normal(parameter.shape)
    x = Tensor(r.standard_normal((4, 6, 16)), requires_grad=True)
    visible = np.arange(6) < np.array([[3], [6], [1], [4]])
    found = []
    for computed in (block_over, block_at):
        block.zero_grad()
        x.grad = None
        y = computed(block, x[:, 2:3], x, visible)
        (y * y).sum().backward()
        grads = {name: p.grad.numpy() for name, p in block.named_parameters() if p.requires_grad}
        found.append({"y": y.numpy(), "x": x.grad.numpy()} | grads)
    for name in found[0]:
        np.testing.assert_allclose(found[1][name], found[0][name], rtol=1e-10, atol=1e-10, err_msg=name)


def whole_last(model, x):
    return model.score(model.pooled(model.transformer.ln_f(model.whole_blocks(x, LENGTHS, 2)), LENGTHS))


def test_composed_ops_dropout_and_recompute_give_the_same():
    model = classifier(Reading(causal=False), dropout=0.2)
    seed_dropout(model, 1, 2)
    expected = model(IDS, LENGTHS).numpy()
    seed_dropout(model, 1, 2)
    with composed_ops():
        np.testing.assert_allclose(model(IDS, LENGTHS).numpy(), expected, rtol=1e-10)
    plain = classifier()
    expected = plain(IDS, LENGTHS).numpy()
    plain.transformer.recompute = True
    assert np.array_equal(plain(IDS, LENGTHS).numpy(), expected)


@pytest.mark.parametrize("reading", READINGS[::3], ids=str)
def test_every_backend_reads_alike(reading, backend):
    model = classifier(reading, np.float32)
    got = scores(model, backend.from_numpy(IDS), backend.from_numpy(LENGTHS))
    use_backend("numpy")
    np.testing.assert_allclose(got, scores(classifier(reading, np.float32)), atol=1e-5)


def test_one_block_is_enough():
    assert scores(classifier(n_layer=1)).shape == (4, 3)


@pytest.mark.parametrize(("settings", "message"), [
    ({"read": "middle"}, "read is 'middle'; choose one of last-real, last, first, mean"),
    ({"read": "first"}, "that is the start token, the same in all texts; leave it out, or the mask"),
    ({"context": 13}, "context is 13, but the model reads 12 tokens"),
])
def test_what_cannot_be_read_is_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        classifier(Reading(**settings))


def test_the_longest_text_leaves_room_for_the_start_token():
    assert classifier().longest_text == 11
    assert classifier(Reading(context=7, start=False)).longest_text == 7


@pytest.mark.parametrize(("shape", "length"), [((2, 13), 13), ((7,), 7), ((1, 2, 3), 3)])
def test_ids_that_the_model_cannot_read_are_refused_in_its_own_words(shape, length):
    with pytest.raises(ShapeError, match=rf"^GPT2Classifier: {length} tokens \(ids are .*\), but the model's context "
                                         r"is 12; give ids of shape \(B, T\), truncated to that$"):
        classifier()(np.zeros(shape, int), np.array([1]))
