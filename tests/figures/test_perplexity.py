"""Every token of a text is predicted once, with the context that was promised."""

import math
import tracemalloc

import numpy as np
import pytest

from tinygrad_gpt.backend import default_backend
from tinygrad_gpt.engine import no_grad
from tinygrad_gpt.errors import DataError, NonFiniteError, UsageError
from tinygrad_gpt.figures import perplexity
from tinygrad_gpt.figures.perplexity import measure_perplexity
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config

N_CTX, VOCAB = 8, 30


def make_model(**changes):
    sizes = {"vocab_size": VOCAB, "n_ctx": N_CTX, "n_embd": 16, "n_layer": 2, "n_head": 2}
    model = GPT2(GPT2Config(**{**sizes, **changes}))
    for parameter in model.parameters():
        parameter.data[...] *= 5  # untrained predictions are all but equal, whatever the context
    return model


def text(length):
    return np.random.default_rng(length).integers(0, VOCAB, length).astype(np.uint16)


def token_by_token(model, tokens, stride):
    """Losses of tokens 1 … N − 1, each by a forward pass of its own over the context that its window gives it."""
    losses = []
    for place in range(1, len(tokens)):
        start = 0 if place <= N_CTX else min(math.ceil((place - N_CTX) / stride) * stride, len(tokens) - 1 - N_CTX)
        context = tokens[start:place].astype(np.int64)
        assert len(context) >= min(place, N_CTX - stride + 1)
        with no_grad():
            logits = model(default_backend().from_numpy(context[None])).numpy()[0, -1].astype(np.float64)
        losses.append(np.log(np.exp(logits).sum()) - logits[tokens[place]])
    return losses


@pytest.mark.parametrize("stride", [1, 3, 5, N_CTX])
@pytest.mark.parametrize("length", [2, 5, 8, 9, 10, 12, 17, 18, 30])
def test_the_mean_over_all_tokens_computed_one_by_one(length, stride):
    model, tokens = make_model(), text(length)
    losses = token_by_token(model, tokens, stride)
    found = measure_perplexity(model, tokens, 2 * length, stride=stride, batch_size=2)
    assert found.loss == pytest.approx(np.mean(losses), rel=1e-6)
    assert (found.tokens, found.predicted, found.n_bytes) == (length, length - 1, 2 * length)
    assert found.perplexity == pytest.approx(math.exp(np.mean(losses)), rel=1e-5)
    assert found.bits_per_byte == pytest.approx(sum(losses) / math.log(2) / (2 * length), rel=1e-6)


def test_more_context_is_another_loss():
    model, tokens = make_model(), text(60)
    losses = [measure_perplexity(model, tokens, 60, stride=stride).loss for stride in (1, 4, 8)]
    assert np.ptp(losses) > 1e-3
    assert measure_perplexity(model, tokens, 60).loss == losses[2]  # side by side by default


def test_batches_and_pieces_change_nothing(monkeypatch):
    model, tokens = make_model(), text(100)
    whole = measure_perplexity(model, tokens, 100, stride=5)
    for size in (1, 3, 1000):
        assert measure_perplexity(model, tokens, 100, stride=5, batch_size=size).loss == pytest.approx(whole.loss, 1e-6)
    for rows in (1, 7):
        monkeypatch.setattr(perplexity, "LOGITS_BYTES", rows * 4 * VOCAB)
        assert measure_perplexity(model, tokens, 100, stride=5).loss == pytest.approx(whole.loss, rel=1e-6)


def test_the_logits_of_a_batch_never_exist_whole(monkeypatch):
    model = make_model(vocab_size=20_000)
    tokens = text(N_CTX * 100 + 1)
    monkeypatch.setattr(perplexity, "LOGITS_BYTES", 1 << 20)
    tracemalloc.start()
    measure_perplexity(model, tokens, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 << 20  # all logits would be 61 MiB


def test_every_backend_finds_the_same(backend):
    model, tokens = make_model(), text(40)
    found = measure_perplexity(model, tokens, 40, stride=3)
    assert found.loss == pytest.approx(np.mean(token_by_token(model, tokens, 3)), rel=1e-6)


def test_a_uniform_model_is_as_unsure_as_its_vocabulary_is_large():
    model = GPT2(GPT2Config(VOCAB, N_CTX, 16, 1, 2), seed=None)
    found = measure_perplexity(model, text(41), n_bytes=80)
    assert found.perplexity == pytest.approx(VOCAB, rel=1e-6)
    assert found.bits_per_byte == pytest.approx(math.log2(VOCAB) / 2, rel=1e-6)


def test_sampled_windows_are_evenly_spaced():
    model, tokens = make_model(), text(N_CTX * 10 + 1)
    whole = measure_perplexity(model, tokens, 80)
    assert (whole.windows, whole.predicted) == (10, 80)
    found = measure_perplexity(model, tokens, 80, max_windows=4)
    assert (found.windows, found.predicted) == (5, 40)
    own = [measure_perplexity(model, tokens[i:i + N_CTX + 1], 80).loss for i in range(0, 80, 2 * N_CTX)]
    assert found.loss == pytest.approx(np.mean(own), rel=1e-6)
    assert measure_perplexity(model, tokens, 80, max_windows=10) == whole


def test_dropout_is_off():
    model = make_model(dropout=0.5).train()
    assert measure_perplexity(model, text(30), 30).loss == measure_perplexity(make_model(), text(30), 30).loss


def test_progress_is_reported():
    calls = []
    measure_perplexity(make_model(), text(42), 1, batch_size=2, report=lambda *call: calls.append(call))
    assert calls == [(2, 6), (4, 6), (5, 6), (6, 6)]


@pytest.mark.parametrize("stride", [0, -1, N_CTX + 1])
def test_a_stride_outside_the_context_is_refused(stride):
    with pytest.raises(UsageError, match=rf"^stride is {stride} \(perplexity\): the model reads 8 tokens; .*$"):
        measure_perplexity(make_model(), text(20), 20, stride=stride)


@pytest.mark.parametrize("length", [0, 1])
def test_a_text_without_anything_to_predict_is_refused(length):
    with pytest.raises(DataError, match=rf"^text of {length} token\(s\) \(perplexity\): there is nothing to predict;"):
        measure_perplexity(make_model(), text(length), 1)


@pytest.mark.parametrize("value", [np.nan, 1e6])
def test_numbers_that_overflow_are_an_error(value):
    model = make_model()
    model.ln_f.weight.data[...] = value
    with pytest.raises(NonFiniteError, match=r"^loss is .* \(perplexity\): the model's weights overflow; .*$"):
        measure_perplexity(model, text(20), 20)
