"""Answers for texts."""

from dataclasses import replace

import numpy as np
import pytest
import tiny

from tinygrad_gpt.data.batches import token_batches
from tinygrad_gpt.errors import DataError, NonFiniteError, UsageError
from tinygrad_gpt.recipes.classification import classify as module
from tinygrad_gpt.recipes.classification.classify import classify, encode_texts, predict
from tinygrad_gpt.recipes.classification.inputs import FrozenPrefix, Texts

TEXTS = [text for text, _ in tiny.texts(30)] + ["x", "ski " * 40]


def test_an_answer_has_the_likeliest_label_and_probabilities_that_sum_to_one():
    for text, answer in zip(TEXTS, classify(tiny.classifier(), TEXTS), strict=True):
        assert answer.text == text
        assert tuple(answer.probabilities) == tuple(tiny.WORDS)
        assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-6)
        assert answer.probability == max(answer.probabilities.values()) == answer.probabilities[answer.label]


def test_answers_below_the_threshold_are_unsure():
    saved = tiny.classifier()
    assert not any(answer.unsure for answer in classify(saved, TEXTS))
    threshold = float(np.median([answer.probability for answer in classify(saved, TEXTS)]))
    answers = classify(replace(saved, unsure_below=threshold), TEXTS)
    assert {answer.unsure for answer in answers} == {True, False}
    for answer in answers:
        assert answer.unsure == (answer.probability < threshold)
        assert answer.answer == ("unsure" if answer.unsure else answer.label)
        assert answer.label in tiny.WORDS
        assert answer.cells() == (answer.text, answer.answer, answer.probability)


def test_answers_do_not_depend_on_the_other_texts():
    saved = tiny.classifier()
    together = classify(saved, TEXTS)
    for batch in (TEXTS[::-1], TEXTS[5:9] + TEXTS[-1:]):
        by_text = {answer.text: answer for answer in classify(saved, batch, batch_tokens=30)}
        for answer in together:
            if answer.text in by_text:
                assert by_text[answer.text].probabilities == pytest.approx(answer.probabilities, abs=1e-5)
    assert len({answer.label for answer in together}) > 1  # a constant would pass the above


def test_a_long_text_is_read_up_to_the_context():
    saved = tiny.classifier(n_ctx=16)
    long = "ski " * 40
    answer, = classify(saved, [long])
    assert answer.truncated
    assert answer.tokens == len(saved.tokenizer.encode(long)) > 15
    start = saved.tokenizer.decode(saved.tokenizer.encode(long)[:15])
    same, = classify(saved, [start])
    assert not same.truncated
    assert same.probabilities == answer.probabilities


def test_every_text_begins_with_end_of_text():
    saved = tiny.classifier()
    ids, truncated = encode_texts(saved.tokenizer, ["ski", "ski " * 40], 16)
    assert ids[0] == [saved.tokenizer.eot_id, *saved.tokenizer.encode("ski")]
    assert (len(ids[1]), truncated) == (16, 1)


def test_predictions_are_float32_and_repeat_bit_for_bit():
    saved = tiny.classifier()
    ids, _ = encode_texts(saved.tokenizer, TEXTS, 16)
    inputs = Texts(saved.classifier, ids)
    first = predict(inputs)
    assert (first.dtype, first.shape) == (np.float32, (len(TEXTS), 3))
    assert first.tobytes() == predict(inputs).tobytes()
    np.testing.assert_allclose(predict(inputs, np.array([3, 1])), first[[3, 1]], atol=1e-6)


def test_the_strict_backend_gives_the_same(backend):
    answers = classify(tiny.classifier(), TEXTS[:5])
    assert [answer.tokens for answer in answers] == [len(tiny.classifier().tokenizer.encode(t)) for t in TEXTS[:5]]
    assert all(sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-6) for answer in answers)


def test_weights_that_overflow_are_found_out():
    saved = tiny.classifier()
    saved.classifier.score.weight.data[:, 0] = np.inf
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match=r"not numbers \(text 1\)"):
        classify(saved, ["ski", "ice"])


def test_a_language_model_and_an_empty_text_are_refused():
    with pytest.raises(UsageError, match="language model, not a classifier"):
        classify(tiny.language_model(), ["a"])
    with pytest.raises(DataError, match=r"empty text \(text 2\)"):
        classify(tiny.classifier(), ["a", " \n\t\u3000"])


def test_batches_are_computed_at_a_time_unless_they_share_frozen_blocks(monkeypatch):
    saved, at_a_time = tiny.classifier(), []

    def in_threads(function, items):
        at_a_time.append(len(items))
        return [function(item) for item in reversed(items)]

    monkeypatch.setattr(module, "in_threads", in_threads)
    tokens, _ = encode_texts(saved.tokenizer, TEXTS, saved.n_ctx)
    rows = np.arange(len(tokens))
    expected = predict(Texts(saved.model, tokens), batch_tokens=100)
    assert at_a_time == [len(token_batches(np.array([len(ids) for ids in tokens]), 100))]
    frozen = FrozenPrefix(saved.model, tokens, rows, 1)
    np.testing.assert_allclose(predict(frozen, batch_tokens=100), expected, rtol=0, atol=1e-6)
    assert len(at_a_time) == 1
