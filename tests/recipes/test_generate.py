"""The recipe that continues texts with a saved model."""

import dataclasses

import pytest
import tiny

from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.recipes import generate as recipe
from tinygrad_gpt.recipes.generate import GenerateConfig, Piece, completions, generate, stream

PROMPTS = ["bug loop", "", "ice ski cold frost and more than sixteen tokens of it: é €"]


@pytest.fixture(scope="module")
def saved():
    return tiny.language_model()


@pytest.fixture(scope="module")
def written(saved):
    return generate(saved, PROMPTS, GenerateConfig(max_new_tokens=20, n_samples=2, seed=5))


def test_a_completion_holds_all_there_is_to_say(saved, written):
    assert [(c.prompt, c.sample) for c in written] == [(prompt, sample) for prompt in PROMPTS for sample in (0, 1)]
    for completion in written:
        ended = completion.stopped_by == "end of text"
        assert completion.stopped_by == "max_new_tokens" or ended
        assert len(completion.ids) == len(completion.logprobs) == 20 or ended
        assert completion.text == saved.tokenizer.decode(completion.ids[:-1] if ended else completion.ids)
        assert all(logprob < 0 for logprob in completion.logprobs)
    assert [c.truncated for c in written] == [False] * 4 + [True] * 2


def test_a_seed_decides_the_text_and_the_company_does_not(saved, written):
    config = GenerateConfig(max_new_tokens=20, n_samples=2, seed=5)
    assert generate(saved, PROMPTS, config) == written
    alone = [completion for prompt in PROMPTS for completion in generate(saved, [prompt], config)]
    assert [c.ids for c in alone] == [c.ids for c in written]
    assert generate(saved, PROMPTS, dataclasses.replace(config, seed=6)) != written


def test_many_prompts_are_computed_in_batches_of_one_size(saved, monkeypatch):
    config = GenerateConfig(max_new_tokens=4)
    prompts = [f"prompt {i}" for i in range(7)]
    whole = generate(saved, prompts, config)
    monkeypatch.setattr(recipe, "BATCH", 3)
    sizes, decode = [], recipe.decode
    monkeypatch.setattr(recipe, "decode", lambda model, tokenizer, prompts, *args, **settings: (
        sizes.append(len(prompts)), decode(model, tokenizer, prompts, *args, **settings))[1])
    assert [(c.prompt, c.ids) for c in generate(saved, prompts, config)] == [(c.prompt, c.ids) for c in whole]
    assert sizes == [3, 3, 1]
    sizes.clear()
    generate(saved, prompts[:2], dataclasses.replace(config, n_samples=5))
    assert sizes == [1, 1]


def test_an_empty_prompt_starts_like_a_document(saved, monkeypatch):
    seen, decode = [], recipe.decode
    monkeypatch.setattr(recipe, "decode", lambda model, tokenizer, prompts, *args, **settings: (
        seen.extend(prompts), decode(model, tokenizer, prompts, *args, **settings))[1])
    generate(saved, ["", "bug"], GenerateConfig(max_new_tokens=1))
    assert seen == [[saved.tokenizer.eot_id], saved.tokenizer.encode("bug")]


def test_pieces_are_the_completion(saved):
    config = GenerateConfig(max_new_tokens=25, n_samples=3, stop=("e",))
    pieces = list(stream(saved, ["bug", "ice"], config))
    whole = generate(saved, ["bug", "ice"], config)
    for index, completion in enumerate(whole):
        own = [piece for piece in pieces if piece.index == index]
        assert "".join(piece.text for piece in own) == completion.text
        assert [piece.completion for piece in own] == [None] * (len(own) - 1) + [completion]
    assert any(c.stopped_by == "stop string" for c in whole)
    assert not any("e" in c.text for c in whole)


def test_a_piece_is_there_before_the_next_is_computed(saved, monkeypatch):
    read = []
    forward = saved.model.next_logits
    monkeypatch.setattr(saved.model, "next_logits", lambda *args: (read.append(1), forward(*args))[1])
    pieces = stream(saved, ["bug"], GenerateConfig(max_new_tokens=10))
    assert read == []
    next(pieces)
    assert len(read) == 1  # the prompt
    next(pieces)
    assert len(read) == 2


def test_completions_come_in_order_and_early():
    def pieces():
        for index in (2, 0, 3, 1):
            came.append(index)
            yield Piece(index, "", f"text {index}")

    came, seen = [], []
    for completion in completions(pieces()):
        seen.append((completion, list(came)))
    assert seen == [("text 0", [2, 0]), ("text 1", [2, 0, 3, 1]), ("text 2", [2, 0, 3, 1]), ("text 3", [2, 0, 3, 1])]


def test_a_classifier_writes_with_its_language_model():
    classifier = tiny.classifier()
    plain = dataclasses.replace(classifier, model=classifier.transformer, labels=())
    config = GenerateConfig(max_new_tokens=8)
    assert generate(classifier, ["bug"], config) == generate(plain, ["bug"], config)


def test_no_prompt_no_text(saved):
    assert generate(saved, [], GenerateConfig()) == []


@pytest.mark.parametrize(("settings", "text"), [
    ({"max_new_tokens": 0}, "max_new_tokens is 0, expected 1 or above"),
    ({"n_samples": -1}, "n_samples is -1, expected 1 or above"),
    ({"stop": ("a", "")}, "stop has an empty string, which is found everywhere; expected strings with characters"),
    ({"temperature": 0, "n_samples": 2}, "n_samples is 2, but at temperature 0 all would be the same; expected 1, or "
                                         "a temperature above 0"),
    ({"top_p": 1.5}, "top_p is 1.5, expected above 0 and at most 1")])
def test_bad_settings_are_refused_in_one_line(settings, text):
    with pytest.raises(UsageError) as error:
        GenerateConfig(**settings)
    assert str(error.value) == text
