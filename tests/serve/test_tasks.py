"""What the worker computes is what the recipes give."""

from dataclasses import replace

import pytest

pytest.importorskip("pydantic", reason="the extra 'serve' is not installed")
from tinygrad_gpt.data.prompt_styles import find_style
from tinygrad_gpt.recipes.classification.attribution import attribute
from tinygrad_gpt.recipes.classification.classify import classify
from tinygrad_gpt.recipes.generate import GenerateConfig, generate
from tinygrad_gpt.recipes.instructions.respond import conversation_prompt
from tinygrad_gpt.serve.bodies import Chat, Generate, Message
from tinygrad_gpt.serve.tasks import answer, continuation, explanations, reply

CONFIG = GenerateConfig(max_new_tokens=9, seed=3)


def test_answers_are_those_of_the_classifier(saved):
    predicted = classify(saved["words"], ["ice ski", "loop bug " * 20])
    told = [answer(one, why) for one, why in zip(predicted, explanations(saved["words"], predicted), strict=True)]
    for one, expected in zip(told, predicted, strict=True):
        assert (one.label, one.probability, one.probabilities, one.tokens, one.truncated) == (
            expected.label, expected.probability, expected.probabilities, expected.tokens, expected.truncated)
        found = attribute(saved["words"], expected.text, expected.label)
        assert (one.explanation.score, one.explanation.neutral) == (found.score, found.neutral)
        assert [(word.text, word.weight) for word in one.explanation.words] == [
            (word.text, word.integrated) for word in found.words]
    assert told[1].truncated


def test_an_answer_may_be_unsure(saved):
    doubtful = replace(saved["words"], unsure_below=0.999)
    told = [answer(one) for one in classify(doubtful, ["ice ski"])]
    assert [(one.unsure, one.label) for one in told] == [(True, classify(saved["words"], ["ice ski"])[0].label)]


def test_a_continuation_is_that_of_generate(saved):
    pieces = list(continuation(saved["story"], "story", Generate(prompt="bug", max_new_tokens=9, seed=3)))
    (expected,) = generate(saved["story"], ["bug"], CONFIG)
    assert "".join(piece.text for piece in pieces) == expected.text
    last = pieces[-1]
    assert (last.model, last.tokens, last.stopped_by, last.truncated) == (
        "story", len(expected.ids), expected.stopped_by, False)
    assert all(piece.stopped_by is None for piece in pieces[:-1])


def test_every_setting_reaches_the_drawing(saved):
    settings = {"max_new_tokens": 30, "temperature": 1.5, "top_k": 50, "top_p": 0.9, "min_p": 0.01,
                "repetition_penalty": 1.2, "seed": 5}
    (free,) = generate(saved["story"], ["bug"], GenerateConfig(**settings))
    stop = free.text[5:7]
    (expected,) = generate(saved["story"], ["bug"], GenerateConfig(**settings, stop=(stop,)))
    pieces = list(continuation(saved["story"], "story", Generate(prompt="bug", stop=[stop], **settings)))
    assert "".join(piece.text for piece in pieces) == expected.text
    assert pieces[-1].stopped_by == expected.stopped_by == "stop string"


def test_a_reply_is_trimmed_and_counts_what_is_forgotten(saved):
    said = ["sand heat " * 15, "swim", "ski?"]
    messages = [Message(role=("user", "assistant")[i % 2], content=text) for i, text in enumerate(said)]
    pieces = list(reply(saved["story"], "story", Chat(messages=messages, max_new_tokens=9, seed=3, style="phi3")))
    style = find_style("phi3")
    prompt, forgotten = conversation_prompt(saved["story"], style, said[::2], said[1::2], 9)
    (expected,) = generate(saved["story"], [prompt], GenerateConfig(max_new_tokens=9, seed=3, stop=style.stop))
    assert "".join(piece.text for piece in pieces) == expected.text.strip()
    assert pieces[-1].forgotten == forgotten == 1
