"""Pretraining on the task's own texts before they are classified."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import published
import pytest
import tiny
from run_folders import assert_same_run, log_of, undrawn_pictures

from tinygrad_gpt.data.classification import Split, read_labelled
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.files import write_atomic
from tinygrad_gpt.recipes.classification import finetune as recipe
from tinygrad_gpt.recipes.classification import task
from tinygrad_gpt.recipes.classification.config import FinetuneConfig
from tinygrad_gpt.recipes.classification.finetune import finetune_classifier, resume_classifier
from tinygrad_gpt.recipes.classification.further_pretraining import (
    LanguageTexts,
    MaskedTask,
    framed_pieces,
    language_task,
    pieces,
)
from tinygrad_gpt.recipes.classification.starting_model import load_base
from tinygrad_gpt.runs.saved_model import load_model, save_model
from tinygrad_gpt.text import WordPiece


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    save_model(folder / "base.h5", tiny.language_model(n_ctx=12))
    data = tiny.labelled_file(folder / "three.csv")
    return FinetuneConfig(str(data), base=str(folder / "base.h5"), epochs=1, lr=1e-3, batch_size=16, save_every=2,
                          pretrain_epochs=3, pretrain_lr=1e-2)


@pytest.fixture(autouse=True, scope="module")
def plain_pictures():
    with undrawn_pictures(task), pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "draw_confusion", lambda path, *args: write_atomic(path, repr(args).encode()))
        patch.setattr(recipe, "bag_of_words", lambda data, split: None)
        yield


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """An uninterrupted run: its folder, its result, and what it reported."""
    out, reported = tmp_path_factory.mktemp("runs") / "whole", []
    return out, finetune_classifier(config, out, reported.append), reported


def test_long_texts_are_cut_into_pieces_that_overlap_by_a_token():
    assert pieces([[0, 1, 2, 3, 4, 5], [0, 1], [0]], 3) == [[0, 1, 2], [2, 3, 4], [4, 5], [0, 1]]


def test_the_base_learns_the_texts_and_then_their_labels(config, whole):
    out, _, reported = whole
    log = log_of(out / "pretraining")
    losses = [entry["scores"]["language_loss"] for entry in log if entry["scores"]]
    assert len(losses) == 3
    assert losses[-1] < losses[0] - 0.1
    assert load_model(out / "pretraining").provenance["language_loss"] == min(losses)
    steps = [progress.step for progress in reported]
    assert steps == list(range(1, len(log) + len(log_of(out)) + 1))  # one run to the user
    assert {progress.total for progress in reported} == {len(steps)}
    assert all(a.seconds <= b.seconds and a.tokens < b.tokens
               for a, b in pairwise(reported))


@pytest.mark.parametrize("train", ["head", "lora"])
def test_what_is_not_finetuned_is_what_was_pretrained(train, config, tmp_path):
    result = finetune_classifier(replace(config, train=train, targets="mlp.c_fc", pretrain_epochs=1), tmp_path / "run")
    pretrained = load_model(tmp_path / "run" / "pretraining").transformer.arrays()
    base = load_model(config.base).transformer.arrays()
    for name, array in result.saved.transformer.arrays().items():
        if train == "head" or not name.endswith("mlp.c_fc.weight"):
            assert array.tobytes() == pretrained[name].tobytes()
            assert array.tobytes() != base[name].tobytes()


@pytest.mark.parametrize("stop", [4, 9, 10, 11])  # in pretraining, at its end, and in finetuning
def test_a_stopped_run_is_resumed_as_if_it_had_not_been(stop, config, whole, tmp_path):
    def report(progress):
        if progress.step == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune_classifier(config, tmp_path / "run", report)
    resume_classifier(tmp_path / "run")
    for name in ("model.h5", "pretraining/model.h5", "report.json"):
        assert (tmp_path / "run" / name).read_bytes() == (whole[0] / name).read_bytes(), name
    assert_same_run(tmp_path / "run" / "pretraining", whole[0] / "pretraining")
    assert log_of(tmp_path / "run") == log_of(whole[0])


def task_of(config, **changes):
    config, data = replace(config, **changes), read_labelled(config.data)
    base, tokenizer = load_base(config, data.texts)
    split = Split(np.arange(30), np.arange(30, 40), np.arange(40, 60))
    return language_task(config, data, split, base, tokenizer), data


def test_unlabelled_texts_are_learned_but_none_that_is_judged(config, tmp_path):
    _, data = task_of(config)
    (tmp_path / "more.txt").write_text("\n".join(["Snow in May", data.texts[35].upper(), data.texts[45], "swim"]))
    more, _ = task_of(config, unlabelled=str(tmp_path / "more.txt"))
    written = [more.tokenizer.decode(ids[1:]) for ids in more.texts.train]
    assert written[30:] == ["Snow in May", "swim"]
    assert len(more.texts.validation) == 10
    with pytest.raises(UsageError, match="unlabelled texts are for further pretraining or for teachers"):
        replace(config, pretrain_epochs=0, unlabelled="more.txt")


def test_it_ends_when_the_validation_loss_has_not_fallen_for_two_epochs(config, monkeypatch):
    found, _ = task_of(config, pretrain_epochs=9)
    losses = iter([3.0, 2.0, 2.5, 2.1])
    monkeypatch.setattr(found, "_validation_loss", lambda: next(losses))
    ended = []
    for epoch in range(1, 5):
        found.scores(epoch * found.steps_per_epoch)
        ended.append(found.finished(epoch * found.steps_per_epoch))
    assert ended == [False, False, False, True]
    assert found.best_loss == 2.0


def test_the_validation_loss_is_the_mean_over_all_tokens(config):
    found, _ = task_of(config)
    found.texts = LanguageTexts(found.texts.train, [[1, 2, 3, 4], [5, 6]])
    alone = []
    for ids in found.texts.validation:
        found.model.eval()
        alone.append(found.model.loss(np.array([ids[:-1]]), np.array([ids[1:]])).item())
    loss = found.scores(found.steps_per_epoch)["language_loss"]
    assert loss == pytest.approx((3 * alone[0] + alone[1]) / 4, rel=1e-5)


@pytest.fixture(scope="module")
def masked(config, tmp_path_factory):
    """Settings to finetune an encoder."""
    folder, letters = tmp_path_factory.mktemp("encoder"), "abcdefghijklmnopqrstuvwxyz0123456789"
    published.masked_lm(folder, WordPiece(
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]))
    return replace(config, base=str(folder), read="first", lm_weight=0.0, dropout=0.1, pretrain_epochs=8)


@pytest.fixture(scope="module")
def whole_masked(masked, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    return out, finetune_classifier(masked, out)


class TestEncoder:
    """An encoder learns hidden tokens instead of next ones."""

    def test_it_learns_the_texts_and_then_their_labels(self, masked, whole_masked):
        out, result = whole_masked
        losses = [entry["scores"]["language_loss"] for entry in log_of(out / "pretraining") if entry["scores"]]
        assert min(losses) < losses[0] - 0.1
        pretrained, base = (load_model(path).base.arrays() for path in (out / "pretraining", masked.base))
        assert set(pretrained) == set(base)
        assert all(pretrained[name].tobytes() != base[name].tobytes() for name in base)
        assert result.saved.labels == ("code", "snow", "sun")

    @pytest.mark.parametrize("stop", [3, 20])
    def test_a_stopped_run_is_resumed_as_if_it_had_not_been(self, stop, masked, whole_masked, tmp_path):
        def report(progress):
            if progress.step == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            finetune_classifier(masked, tmp_path / "run", report)
        resume_classifier(tmp_path / "run")
        for name in ("model.h5", "pretraining/model.h5"):
            assert (tmp_path / "run" / name).read_bytes() == (whole_masked[0] / name).read_bytes(), name

    def test_the_published_head_is_used_where_there_is_one(self, masked, tmp_path):
        (task, _), theirs = task_of(masked), published.masked_lm(tmp_path / "bert", load_model(masked.base).tokenizer)
        assert type(task) is MaskedTask
        for name, array in theirs.masked_head.arrays().items():
            assert task.model.masked_head.arrays()[name].tobytes() == array.tobytes()
        published.masked_lm(tmp_path / "bare", task.tokenizer, has_head=False)
        bare, _ = task_of(masked, base=str(tmp_path / "bare"))
        assert not bare.model.masked_head.bias.numpy().any()

    def test_other_tokens_are_hidden_in_each_step_and_the_same_again(self, masked):
        task, _ = task_of(masked)
        texts = [[2, *range(5, 20), 3], [2, 7, 3]]
        task.model.eval()
        first, again, other = (task.prediction(texts, draw) for draw in ((1, 0), (1, 0), (1, 1)))
        whole = slice(0, 2)
        assert [batch.counts(whole) for batch in (first, again, other)] == [(3,)] * 3  # 15 % of 15, and one of one
        losses = [batch.loss(whole, 1.0).item() for batch in (first, again, other)]
        assert losses[0] == losses[1] != losses[2]

    def test_long_texts_are_cut_into_pieces_between_the_two_tokens(self):
        assert framed_pieces([[2, 5, 6, 7, 3], [2, 5, 3], [2, 3]], 4) == [[2, 5, 6, 3], [2, 7, 3], [2, 5, 3]]

    def test_a_vocabulary_without_hidden_words_is_refused(self, masked, tmp_path):
        base, tokenizer = load_base(masked, [])
        gpt2 = tiny.language_model().tokenizer
        data = read_labelled(masked.data)
        split = Split(np.arange(30), np.arange(30, 40), np.arange(40, 60))
        with pytest.raises(UsageError, match=r"^cannot pretrain \(.*\): its vocabulary has no token for a hidden word"):
            language_task(masked, data, split, base, gpt2)
        assert tokenizer.mask_id == 4
