"""Why a text got its label: parts that add up, and that a model's own weights confirm."""

from dataclasses import replace

import numpy as np
import pytest
import tiny

from tinygrad_gpt.models.classifier import GPT2Classifier, Reading
from tinygrad_gpt.recipes.classification.attribution import TOLERANCE, Attribution, Part, attribute, left_out_scores
from tinygrad_gpt.recipes.classification.classify import classify
from tinygrad_gpt.runs.saved_model import load_model

TEXTS = ["WINNER!! You won a 1000 pound prize 🎁, call 09061701461 now", "Hi mum, see you at 6", "free", "日本語で go"]


@pytest.fixture(scope="module")
def saved():
    return load_model("sms-spam")


@pytest.mark.parametrize("text", TEXTS)
def test_the_parts_add_up_and_are_the_text(saved, text):
    (answer,) = classify(saved, [text])
    found = attribute(saved, text, answer.label)
    assert found.gap <= TOLERANCE
    assert "".join(part.text for part in found.parts) == text
    odds = np.log(answer.probability / (1 - answer.probability))
    assert found.score == pytest.approx(odds, abs=2e-3 * abs(odds))


@pytest.mark.parametrize("reading", [Reading(), Reading(read="mean"), Reading(read="first", causal=False),
                                     Reading(read="last", filled=True, context=16), Reading(start=False)])
def test_every_way_of_reading_adds_up(reading, monkeypatch):
    saved = tiny.classifier()
    monkeypatch.setattr(saved.model, "reading", reading)
    (answer,) = classify(saved, ["ice ski cold"])
    found = attribute(saved, "ice ski cold", answer.label)
    probabilities = np.array([answer.probabilities[label] for label in saved.labels])
    assert found.gap <= TOLERANCE
    assert found.score == pytest.approx(np.log(probabilities.max() / (1 - probabilities.max())), abs=1e-4)


def test_the_labels_of_two_classes_have_opposite_parts(saved):
    ham, spam = (attribute(saved, TEXTS[0], label) for label in ("ham", "spam"))
    assert ham.score == pytest.approx(-spam.score, rel=1e-5)
    for a, b in zip(ham.parts, spam.parts, strict=True):
        assert a.integrated == pytest.approx(-b.integrated, abs=1e-3)
        assert a.gradient_input == pytest.approx(-b.gradient_input, abs=1e-4)


def test_the_number_to_call_speaks_for_spam(saved):
    found = attribute(saved, TEXTS[0], "spam")
    assert max(found.words, key=lambda word: word.integrated).text == " 09061701461"


def test_words_are_sums_of_their_parts():
    found = Attribution("spam", 1.0, 0.0, tuple(Part(text, i, 10.0 * i) for i, text in enumerate(
        ["W", "IN", " ", "a", "\n", " b", "!"])))
    assert [(word.text, word.gradient_input, word.integrated) for word in found.words] == [
        ("WIN", 1, 10.0), (" a", 5, 50.0), ("\n b!", 15, 150.0)]


def test_leaving_a_token_out_is_what_classify_answers_without_it(saved):
    lost = left_out_scores(saved, "call now", "spam")
    ids = saved.tokenizer.encode("call now")
    assert len(lost) == len(ids)
    shorter = saved.tokenizer.decode(ids[:-1])
    (whole,), (less,) = classify(saved, ["call now"]), classify(saved, [shorter])
    odds = [np.log(a.probabilities["spam"] / a.probabilities["ham"]) for a in (whole, less)]
    assert lost[-1] == pytest.approx(odds[0] - odds[1], abs=1e-3)


def test_one_token_leaves_nothing():
    saved = tiny.classifier()
    saved = replace(saved, model=GPT2Classifier(saved.transformer, 3, reading=Reading(start=False)).eval())
    assert left_out_scores(saved, "i", "snow").tolist() == [0.0]


def test_what_is_not_read_has_no_part():
    saved = tiny.classifier(n_ctx=8)
    text = "bug loop test stack ice ski cold frost"
    found = attribute(saved, text, "code")
    assert text.startswith("".join(part.text for part in found.parts))
    assert len(found.parts) <= 7
