"""The loop beside its plain definition: each text alone, recomputed for each token."""

import math

import numpy as np
import pytest
import tiny
from decoding import PROMPTS, sharp, windows

from tinygrad_gpt.errors import NonFiniteError
from tinygrad_gpt.generate.decode import decode, log_probability
from tinygrad_gpt.generate.sampling import Sampling
from tinygrad_gpt.text import Tokenizer
from tinygrad_gpt.text.layout import Layout

SETTINGS = [Sampling(temperature=0), Sampling(seed=4), Sampling(0.8, top_k=40, top_p=0.9, min_p=0.01, seed=1,
                                                                repetition_penalty=1.3)]


@pytest.fixture(scope="module")
def saved():
    return sharp()


def directly(saved, prompt, sampling, n_new, sample=0):
    """Ids and log-probabilities of one continuation, everything recomputed for each token."""
    text, logprobs = list(prompt), []
    for step in range(n_new):
        window = windows(text, len(prompt), saved.n_ctx)
        logits = saved.model(np.array([window])).numpy()[0, -1, :saved.tokenizer.vocab_size]
        text.append(sampling.choose(logits, set(text), sample, step))
        logprobs.append(logits[text[-1]] - math.log(np.exp(logits).sum()))
        if text[-1] == saved.tokenizer.eot_id:
            break
    return text[len(prompt):], logprobs


def collect(drawn, n_texts):
    texts = [[] for _ in range(n_texts)]
    for token in drawn:
        assert not texts[token.index] or texts[token.index][-1].stopped_by is None
        texts[token.index].append(token)
    return texts


@pytest.mark.parametrize("sampling", SETTINGS, ids=str)
@pytest.mark.parametrize("n_new", [1, 6, 40])
def test_a_batch_is_its_texts_one_by_one(saved, sampling, n_new):
    """Prompts of different length, one of them beyond the context; 40 tokens are cut to the window several times."""
    texts = collect(decode(saved.model, saved.tokenizer, PROMPTS, sampling, max_new_tokens=n_new), len(PROMPTS))
    for prompt, text in zip(PROMPTS, texts, strict=True):
        ids, logprobs = directly(saved, prompt, sampling, n_new)
        assert [token.id for token in text] == ids
        np.testing.assert_allclose([token.logprob for token in text], logprobs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("n_ctx", [1, 2, 3])
def test_the_shortest_contexts(n_ctx):
    saved = sharp(n_ctx)
    texts = collect(decode(saved.model, saved.tokenizer, PROMPTS, SETTINGS[1], max_new_tokens=7), len(PROMPTS))
    for prompt, text in zip(PROMPTS, texts, strict=True):
        assert [token.id for token in text] == directly(saved, prompt, SETTINGS[1], 7)[0]


def test_samples_share_their_prompt_and_differ(saved):
    texts = collect(decode(saved.model, saved.tokenizer, PROMPTS[:2], SETTINGS[1], max_new_tokens=12, n_samples=3), 6)
    for index, text in enumerate(texts):
        prompt, sample = divmod(index, 3)
        assert [token.id for token in text] == directly(saved, PROMPTS[prompt], SETTINGS[1], 12, sample)[0]
    assert len({tuple(token.id for token in text) for text in texts}) == 6


def test_every_backend_draws_the_same_tokens(backend):
    saved = sharp(backend=backend)
    texts = collect(decode(saved.model, saved.tokenizer, PROMPTS, SETTINGS[2], max_new_tokens=15, n_samples=2), 8)
    assert [[token.id for token in text] for text in texts[::2]] == [
        directly(sharp(), prompt, SETTINGS[2], 15)[0] for prompt in PROMPTS]


def with_favourite(saved, id, strength):
    """The model with a head that adds to one token's logit."""
    head = saved.model.head

    def biased(x):
        logits = head(x)
        logits.data[..., id] += strength
        return logits

    saved.model.head = biased
    return saved


def test_texts_that_have_ended_are_not_computed_any_more():
    saved = with_favourite(sharp(30), 256, 4.0)
    tokenizer = Tokenizer([bytes([i]) for i in range(256)])  # its end of text is 256
    rows, read = [], saved.model.next_logits

    def counted(ids, cache, lengths):
        rows.append(len(ids))
        return read(ids, cache, lengths)

    saved.model.next_logits = counted
    texts = collect(decode(saved.model, tokenizer, [[1], [2, 3], [4]], Sampling(seed=2), max_new_tokens=25,
                           n_samples=5), 15)
    lengths = [len(text) for text in texts]
    assert len(set(lengths)) > 3
    for text in texts:
        assert all(token.id != 256 and token.stopped_by is None for token in text[:-1])
        assert text[-1].stopped_by == ("end of text" if text[-1].id == 256 else "max_new_tokens")
        assert "<|endoftext|>" not in "".join(token.text for token in text)
    turns = [sum(length > step for length in lengths) for step in range(1, max(lengths))]
    assert rows == [3, *turns]  # the prompts once, then only what goes on; the last token is never read


def test_ids_beyond_the_vocabulary_are_never_drawn():
    saved = with_favourite(sharp(), 298, 100.0)
    tokenizer = Tokenizer([bytes([i]) for i in range(256)])
    text = list(decode(saved.model, tokenizer, [[1, 2]], Sampling(), max_new_tokens=8))
    assert all(token.id <= 256 for token in text)
    assert sum(token.logprob for token in text) < 0


def test_a_stop_string_ends_its_text_only():
    saved = sharp(30)
    plain = collect(decode(saved.model, saved.tokenizer, PROMPTS[:3], SETTINGS[1], max_new_tokens=20), 3)
    written = ["".join(token.text for token in text) for text in plain]
    stop = written[0][3:6]
    texts = collect(decode(saved.model, saved.tokenizer, PROMPTS[:3], SETTINGS[1], max_new_tokens=20, stop=[stop]), 3)
    assert texts[0][-1].stopped_by == "stop string"
    for before, after, full in zip(plain, texts, written, strict=True):
        assert "".join(token.text for token in after) == full.split(stop)[0]
        assert [token.id for token in after] == [token.id for token in before][:len(after)]


def test_log_probabilities_are_the_models_own():
    logits = np.array([1.0, 2.0, 3.0, -500.0], np.float32)
    expected = logits.astype(np.float64) - math.log(math.exp(1) + math.exp(2) + math.exp(3))
    assert [log_probability(logits, i) for i in range(4)] == pytest.approx(expected.tolist(), rel=1e-14)
    assert log_probability(np.array([1e38, -1e38], np.float32), 1) == pytest.approx(-2e38)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_no_numbers(value):
    saved = with_favourite(sharp(), 3, value)
    with pytest.raises(NonFiniteError, match=r"logits are not numbers \(prompt 1, token 1\): the model's weights"):
        list(decode(saved.model, saved.tokenizer, PROMPTS, Sampling(), max_new_tokens=2))


def test_the_model_does_not_drop_out_while_it_writes():
    saved = tiny.language_model()
    saved.model.drop.p = 0.5
    saved.model.train()
    runs = [[token.id for token in decode(saved.model, saved.tokenizer, [[1, 2]], Sampling(), max_new_tokens=8)]
            for _ in range(2)]
    assert runs[0] == runs[1]


def test_any_of_the_ends_of_a_vocabulary_ends_a_text_and_its_other_special_tokens_are_drawn():
    tokens = [bytes([i]) for i in range(256)]
    tokenizer = Tokenizer(tokens, Layout(tuple(range(256)), {"<s>": 256, "<|bot|>": 257}, 256, (65, 256)))
    saved = with_favourite(sharp(30), 257, 4.0)
    texts = collect(decode(saved.model, tokenizer, [[1], [2, 3]], Sampling(seed=2), max_new_tokens=25, n_samples=8), 16)
    assert {text[-1].id for text in texts if text[-1].stopped_by == "end of text"} <= {65, 256}
    assert any(text[-1].stopped_by == "end of text" and text[-1].id == 65 for text in texts)
    drawn = [token for text in texts for token in text if token.id == 257]
    assert drawn
    assert "<|bot|>" in "".join(token.text for text in texts for token in text)
