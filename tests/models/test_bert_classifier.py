"""`BertClassifier`: what it reads of a text, and that padding and batches change nothing."""

import numpy as np
import pytest

from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.models.bert import Bert, BertConfig
from tinygrad_gpt.models.bert_classifier import BertClassifier
from tinygrad_gpt.models.classifier import Reading

TINY = {"vocab_size": 23, "n_ctx": 7, "n_embd": 6, "n_layer": 2, "n_head": 3, "n_inner": 10}
IDS, LENGTHS = np.array([[1, 2, 3, 4], [5, 6, 0, 0]]), np.array([4, 2])


def classifier(read, pooler="none", **settings):
    model = BertClassifier(Bert(BertConfig(**TINY, pooler=pooler)), 3, reading=Reading(read, causal=False, **settings))
    for name, parameter in model.named_parameters():
        parameter.data = parameter.numpy().astype(np.float64) * (30 if name.startswith("score") else 5)
    return model.eval()


@pytest.mark.parametrize("read", ["mean", "first", "last-real"])
@pytest.mark.parametrize("pooler", ["none", "tanh"])
def test_scores_are_made_of_what_is_read(read, pooler):
    model = classifier(read, pooler)
    hidden = model.transformer(IDS, np.arange(4) < LENGTHS[:, None]).numpy()
    expected = []
    for states, length in zip(hidden, LENGTHS, strict=True):
        vector = {"mean": states[:length].mean(0), "first": states[0], "last-real": states[length - 1]}[read]
        if pooler == "tanh":
            layer = model.transformer.pooler
            vector = np.tanh(vector @ layer.weight.numpy() + layer.bias.numpy())
        expected.append(vector @ model.score.weight.numpy() + model.score.bias.numpy())
    found = model(IDS, LENGTHS).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found[1:], model(IDS[1:, :2], LENGTHS[1:]).numpy(), rtol=1e-9, atol=1e-9)
    assert np.ptp(found) > 0.1


@pytest.mark.parametrize("read", ["mean", "first"])
@pytest.mark.parametrize("start", [0, 1, 2])
def test_blocks_can_be_run_in_two_parts(read, start):
    model = classifier(read)
    x = model.blocks(model.embed(IDS), LENGTHS, 0, start)
    halves = model.scores(model.blocks(x, LENGTHS, start), LENGTHS)
    np.testing.assert_allclose(halves.numpy(), model(IDS, LENGTHS).numpy(), rtol=1e-12)
    assert model.blocks(x, LENGTHS, start).shape[1] == (4 if read == "mean" else 1)


def test_texts_filled_up_to_the_context_read_their_filler():
    filled, padded = classifier("mean", filled=True), classifier("mean")
    assert not np.allclose(filled(IDS, LENGTHS).numpy()[1], padded(IDS, LENGTHS).numpy()[1])
    np.testing.assert_allclose(filled(IDS, LENGTHS).numpy()[0], padded(IDS, LENGTHS).numpy()[0])


def test_context_leaves_room_for_both_special_tokens():
    assert (classifier("mean").context, classifier("mean").longest_text) == (7, 5)
    assert classifier("mean", context=4, start=False).longest_text == 4
    assert BertClassifier(Bert(BertConfig(**TINY)), 2).reading.read == "mean"


@pytest.mark.parametrize(("reading", "why"), [
    (Reading("mean"), "give a reading without the causal mask"),
    (Reading("mean", causal=False, context=8), "context is 8, but the model reads 7 tokens"),
    (Reading("mean", causal=False, context=2), "context is 2, but the model reads 7 tokens, 2 of which"),
])
def test_other_readings_are_refused(reading, why):
    with pytest.raises(UsageError, match=why):
        BertClassifier(Bert(BertConfig(**TINY)), 2, reading=reading)
