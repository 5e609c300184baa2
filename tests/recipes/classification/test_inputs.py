"""What is frozen is computed once, and gives the same."""

import shutil
import tempfile
from types import SimpleNamespace

import numpy as np
import pytest

from tinygrad_gpt import ops
from tinygrad_gpt.errors import ResourceError
from tinygrad_gpt.models.classifier import READS, GPT2Classifier, Reading
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.models.lora import apply_lora
from tinygrad_gpt.recipes.classification import inputs as module
from tinygrad_gpt.recipes.classification.classify import predict
from tinygrad_gpt.recipes.classification.config import TRAINED
from tinygrad_gpt.recipes.classification.inputs import (
    FrozenPrefix,
    NoisyTexts,
    Texts,
    frozen_blocks,
    inputs_of,
    memory_kept,
)
from tinygrad_gpt.recipes.classification.starting_model import set_trained

CONFIG = GPT2Config(vocab_size=23, n_ctx=12, n_embd=16, n_layer=3, n_head=2)
RANDOM = np.random.default_rng(3)
TOKENS = [RANDOM.integers(0, 23, n).tolist() for n in (3, 12, 7, 1, 5, 9)]
ALL = np.arange(len(TOKENS))
LABELS = np.array([0, 1, 2, 0, 1, 2, 2, 1])


def classifier(reading=None, train="last-block"):
    model = GPT2Classifier(GPT2(CONFIG), 3, reading=reading)
    for parameter in model.parameters():
        parameter.data = parameter.data * 3
    set_trained(model, train)
    return model


def step(inputs, rows):
    """Logits and gradients of some texts."""
    inputs.model.zero_grad()
    logits = inputs.logits(np.array(rows))
    ops.cross_entropy(logits, LABELS[rows]).backward()
    return [logits.numpy()] + [parameter.grad.numpy() for parameter in inputs.model.trainable()]


def test_how_many_blocks_are_frozen():
    assert {train: frozen_blocks(classifier(train=train)) for train in TRAINED} == {
        "head": 3, "last-block": 2, "last-two-blocks": 1, "all": 0}
    model = classifier()
    model.transformer.wpe.freeze(False)
    assert frozen_blocks(model) == 0
    model = classifier(train="all")
    apply_lora(model, 2, 2)
    assert frozen_blocks(model) == 0
    assert type(inputs_of(model, TOKENS, ALL)) is Texts


@pytest.mark.parametrize("train", ["head", "last-block", "last-two-blocks"])
@pytest.mark.parametrize("filled", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("read", READS)
def test_kept_activations_give_the_same_step(read, causal, filled, train):
    model = classifier(Reading(read, causal, filled=filled, start=False), train)
    kept = inputs_of(model, TOKENS, ALL)
    assert type(kept) is FrozenPrefix
    fresh = Texts(model, TOKENS)
    for rows in ([0, 3], [1, 2, 5], [3, 0, 4]):
        for got, expected in zip(step(kept, rows), step(fresh, rows), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_each_text_goes_through_the_frozen_blocks_once(monkeypatch):
    model = classifier()
    computed = []
    first = model.transformer.h[0]
    monkeypatch.setattr(first, "forward", lambda x, forward=first.forward: computed.append(len(x.data)) or forward(x))
    inputs = inputs_of(model, TOKENS, ALL)
    for _ in range(3):
        step(inputs, [0, 1, 2])
        step(inputs, [2, 3])
        predict(inputs)
    assert sum(computed) == len(TOKENS)


def test_what_is_prepared_is_not_computed_again_and_twins_are_computed_once(monkeypatch):
    model, tokens = classifier(), [*TOKENS, TOKENS[2], TOKENS[4]]
    first, computed = model.transformer.h[0], []
    monkeypatch.setattr(first, "forward", lambda x, forward=first.forward: computed.append(len(x.data)) or forward(x))
    inputs = inputs_of(model, tokens, np.arange(8))
    told = []
    inputs.prepare(np.array([6, 2, 0, 5]), lambda done, total: told.append((done, total)))
    assert told == [(3, 3)]
    assert (sum(computed), inputs.known.sum()) == (3, 3)
    step(inputs, [0, 2, 5])
    assert sum(computed) == 3
    twin, fresh = step(inputs_of(model, tokens, np.arange(8)), [6, 1]), step(Texts(model, tokens), [6, 1])
    np.testing.assert_allclose(twin[0], fresh[0], rtol=1e-5, atol=1e-6)
    assert len(inputs.values) == sum(map(len, TOKENS))


def test_a_temporary_file_holds_the_same_bits():
    model = classifier()
    memory, file = FrozenPrefix(model, TOKENS, ALL, 2), FrozenPrefix(model, TOKENS, ALL, 2, in_memory=100)
    assert isinstance(file.values, np.memmap)
    assert not isinstance(memory.values, np.memmap)
    for a, b in zip(step(memory, [4, 1, 0]), step(file, [4, 1, 0]), strict=True):
        assert a.tobytes() == b.tobytes()
    assert predict(memory).tobytes() == predict(file).tobytes()
    assert file.values.tobytes() == memory.values.tobytes()


def test_a_disk_without_room_for_the_temporary_file_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=2367))  # 37 tokens · 16 · 4 bytes
    with pytest.raises(ResourceError) as caught:
        FrozenPrefix(classifier(), TOKENS, ALL, 2, in_memory=100)
    assert caught.value.exit_code == 4
    assert str(caught.value) == (
        f"no room for temporary files ({tempfile.gettempdir()}): what the frozen blocks make of the texts takes "
        "0.0 GB, and 0.0 GB are free; free some space, set TMPDIR to a folder on another disk, or give a shorter "
        "context")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=2368))
    assert FrozenPrefix(classifier(), TOKENS, ALL, 2, in_memory=100).values.nbytes == 2368


@pytest.mark.parametrize("train", TRAINED)
@pytest.mark.parametrize("reading", [Reading(), Reading("mean"), Reading(context=12, filled=True)], ids=str)
def test_the_memory_that_is_kept_is_known_before(reading, train, monkeypatch):
    model, tokens, rows = classifier(reading, train), [*TOKENS, TOKENS[2], TOKENS[4]], np.array([6, 0, 3, 2])
    inputs = inputs_of(model, tokens, rows)
    inputs.prepare(rows)
    known = np.flatnonzero(inputs.known) if train != "all" else []
    assert memory_kept(model, tokens, rows) == sum(inputs._kept(i).nbytes for i in known)
    assert len(known) == (0 if train == "all" else 3)
    assert train == "all" or sum(inputs._kept(i).nbytes for i in known) == inputs.values.nbytes  # no place for others
    monkeypatch.setattr(module, "IN_MEMORY", 0)  # all in a file
    assert memory_kept(model, tokens, rows) == 0


def test_only_what_is_read_is_kept_behind_the_last_block():
    shapes = {(read, train): FrozenPrefix(model, TOKENS, ALL, frozen_blocks(model)).values.shape
              for read in ("last-real", "mean") for train in ("head", "last-block")
              for model in [classifier(Reading(read), train)]}
    total = sum(map(len, TOKENS))
    assert shapes == {("last-real", "head"): (6, 16), ("last-real", "last-block"): (total, 16),
                      ("mean", "head"): (total, 16), ("mean", "last-block"): (total, 16)}


def test_the_model_trains_on_after_its_frozen_blocks_were_computed():
    model = classifier().train()
    inputs = inputs_of(model, TOKENS, ALL)
    inputs.batch(np.array([0]))
    assert model.training
    assert model.transformer.h[0].resid_dropout.training
    model.eval()
    inputs.batch(np.array([1]))
    assert not model.training


def test_every_backend(backend):
    inputs = inputs_of(classifier(), TOKENS, ALL)
    x, lengths = inputs.batch(np.array([2, 0]))
    assert isinstance(x.data, backend.array_type)
    assert isinstance(lengths, backend.array_type)
    assert (x.shape, backend.to_numpy(lengths).tolist()) == ((2, 7, 16), [7, 3])


def test_filled_texts_are_as_long_as_the_context():
    model = classifier(Reading(context=9, filled=True, pad_id=22))
    ids, lengths = Texts(model, TOKENS).ids(np.array([0, 2]))
    assert (ids.shape, lengths.tolist()) == ((2, 9), [3, 7])
    assert ids[0].tolist() == [*TOKENS[0], *[22] * 6]


def test_a_share_of_the_tokens_is_replaced_by_others_of_the_batch(monkeypatch):
    model = classifier(Reading(start=True))
    texts = [[0, *RANDOM.integers(1, 23, 11).tolist()] for _ in range(40)]
    noisy, rows, fed = NoisyTexts(model, texts, 0.5), np.arange(40), []
    monkeypatch.setattr(model, "embed", lambda ids: fed.append(ids.copy()) or ids)
    for stream in ((1, 2), (1, 2), (1, 3)):
        noisy.stream = stream
        noisy.batch(rows)
    original = noisy.ids(rows)[0]
    np.testing.assert_array_equal(original, texts)  # the targets of a language-model loss stay
    np.testing.assert_array_equal(fed[0], fed[1])
    assert (fed[0] != fed[2]).any()
    assert (fed[0][:, 0] == 0).all()  # the start token stays
    assert 0.4 < (fed[0] != original)[:, 1:].mean() < 0.55
    assert set(fed[0][:, 1:].ravel()) <= set(original[:, 1:].ravel())
