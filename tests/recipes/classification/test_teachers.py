"""What a classifier learns from others."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import tiny

from tinygrad_gpt.data.classification import normalise
from tinygrad_gpt.data.recombined import recombined
from tinygrad_gpt.errors import CheckpointError, UsageError
from tinygrad_gpt.recipes.classification import finetune as recipe
from tinygrad_gpt.recipes.classification import teachers
from tinygrad_gpt.recipes.classification.baselines import answers_of_bag_of_words
from tinygrad_gpt.recipes.classification.budget import find_setting
from tinygrad_gpt.recipes.classification.classify import classify
from tinygrad_gpt.recipes.classification.config import BAG_OF_WORDS, FinetuneConfig
from tinygrad_gpt.recipes.classification.finetune import finetune_classifier
from tinygrad_gpt.recipes.classification.parts import read_parts
from tinygrad_gpt.recipes.classification.teachers import targets_of, texts_without_labels, with_unlabelled
from tinygrad_gpt.runs.saved_model import load_model, save_model


@pytest.fixture
def config(tmp_path):
    """A run with a teacher whose classes are in another order."""
    save_model(tmp_path / "base.h5", tiny.language_model())
    save_model(tmp_path / "teacher.h5", tiny.classifier(labels=("sun", "code", "snow")))
    (tmp_path / "more.txt").write_text("swim in the ice\nstack of sand\n")
    return FinetuneConfig(str(tiny.labelled_file(tmp_path / "three.csv")), base=str(tmp_path / "base.h5"), epochs=1,
                          teachers=(str(tmp_path / "teacher.h5"), BAG_OF_WORDS), recombined=30,
                          unlabelled=str(tmp_path / "more.txt"), batch_size=8)


def targets(config, folder):
    data, split = read_parts(config)
    unlabelled = texts_without_labels(config, data, split)
    seen = []
    return data, split, unlabelled, targets_of(config, data, split, unlabelled, folder, seen.append), seen


def test_targets_are_the_labels_and_the_mean_of_the_teachers(config, tmp_path):
    data, split, unlabelled, found, seen = targets(config, tmp_path)
    train = [data.texts[i] for i in split.train]
    assert unlabelled[:2] == ["swim in the ice", "stack of sand"]
    assert len(unlabelled) == 32
    assert found.shape == (60 + 32, 3)
    answers = classify(load_model(config.teachers[0]), train + unlabelled)
    one = np.array([[answer.probabilities[name] for name in data.classes] for answer in answers])
    two = answers_of_bag_of_words(train, data.labels[split.train], train + unlabelled)
    mean = (one + two) / 2
    np.testing.assert_allclose(found[60:], mean[len(train):], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[split.train], (mean[:len(train)] + np.eye(3)[data.labels[split.train]]) / 2,
                               rtol=1e-5, atol=1e-6)
    assert not found[np.concatenate([split.validation, split.test])].any()
    assert [step.done for step in seen] == [len(train) + 32, 0]


def test_targets_are_computed_before_the_run_begins_and_kept(config, tmp_path, monkeypatch):
    first = targets(config, tmp_path)[3]
    np.save(tmp_path / "teachers.npy", first + 1)  # as of a run that never began
    np.testing.assert_array_equal(targets(config, tmp_path)[3], first)
    monkeypatch.setattr(teachers, "holds_run", lambda folder: True)
    monkeypatch.setattr(teachers, "load_model", None)
    np.testing.assert_array_equal(targets(config, tmp_path)[3], first)
    for damage in (lambda file: np.save(file, first[1:]), lambda file: file.write_bytes(b""),
                   lambda file: file.write_bytes(b"text"), lambda file: file.unlink()):
        damage(tmp_path / "teachers.npy")
        with pytest.raises(CheckpointError, match=r"cannot resume \(.*teachers.npy\): the file is missing or damaged"):
            targets(config, tmp_path)


def test_texts_without_labels_are_trained_on_and_share_none_that_is_judged(config):
    data, split = read_parts(config)
    unlabelled = texts_without_labels(config, data, split)
    judged = {normalise(data.texts[i]) for i in (*split.validation, *split.test)}
    assert not judged & set(map(normalise, unlabelled))
    trained = with_unlabelled(split, 60, len(unlabelled))
    assert trained.train.tolist() == [*split.train, *range(60, 92)]
    assert (trained.test is split.test, trained.validation is split.validation) == (True, True)
    assert texts_without_labels(replace(config, teachers=(), recombined=0, pretrain_epochs=1), data, split) == []


def test_a_recombined_text_that_is_judged_is_left_out(config, tmp_path):
    file = tmp_path / "short.tsv"  # of one word and of two: a text of two without one of them is another
    file.write_text("text\tlabel\n" + "".join(f"{a}{b}\t{label}\n" for label, words in tiny.WORDS.items()
                                              for a in words for b in ("", *(f" {word}" for word in words))))
    config = replace(config, data=str(file), unlabelled=None, recombined=300)
    data, split = read_parts(config)
    judged = {normalise(data.texts[i]) for i in (*split.validation, *split.test)}
    made = recombined([data.texts[i] for i in split.train], 300, config.seed)
    assert judged & set(made)
    assert texts_without_labels(config, data, split) == [text for text in made if text not in judged]


def test_a_model_learns_what_its_teacher_says_where_the_labels_say_another_thing(config, tmp_path):
    """The teacher takes each class for the next one."""
    after = {"code": "snow", "snow": "sun", "sun": "code"}
    texts = tiny.texts(300)
    (tmp_path / "wrong.csv").write_text("text,label\n" + "".join(f"{text},{after[k]}\n" for text, k in texts))
    alone = replace(config, teachers=(), recombined=0, unlabelled=None, epochs=8, lr=1e-2, dropout=0.0, lm_weight=0.0)
    teacher = finetune_classifier(replace(alone, data=str(tmp_path / "wrong.csv")), tmp_path / "teacher")
    (tmp_path / "more.txt").write_text("\n".join(text for text, _ in texts[60:]))
    taught = replace(alone, teachers=(str(tmp_path / "teacher"),), unlabelled=str(tmp_path / "more.txt"))
    answers = {name: [answer.label for answer in classify(saved, [text for text, _ in texts[60:]])] for name, saved in (
        ("teacher", teacher.saved), ("alone", finetune_classifier(replace(alone, epochs=30), tmp_path / "alone").saved),
        ("taught", finetune_classifier(taught, tmp_path / "taught").saved))}
    assert np.mean([label == k for label, (_, k) in zip(answers["alone"], texts[60:], strict=True)]) > 0.9
    assert np.mean([a == b for a, b in zip(answers["taught"], answers["teacher"], strict=True)]) > 0.9


def test_a_run_with_teachers_is_judged_on_labelled_texts(config, tmp_path):
    data, split = read_parts(config)
    texts = [text for text, _ in tiny.texts(300)]
    (tmp_path / "more.txt").write_text("\n".join(texts[60:]))
    config = replace(config, teachers=config.teachers[1:], recombined=0, epochs=8, lr=1e-2, dropout=0.0, lm_weight=0.0)
    result = finetune_classifier(config, tmp_path / "run")
    bag = answers_of_bag_of_words([data.texts[i] for i in split.train], data.labels[split.train], texts[60:])
    answers = classify(result.saved, texts[60:])
    same = np.mean([data.classes.index(answer.label) == k for answer, k in
                    zip(answers, bag.argmax(axis=1), strict=True)])
    assert same > 0.95
    assert result.test.accuracy > 0.9
    assert result.training.count == len(split.train)
    assert result.baseline.count == len(split.test)
    assert result.saved.provenance["config"]["teachers"] == [BAG_OF_WORDS]


def test_several_labels_are_taught_as_well(tmp_path):
    rows = [(f"{tiny.WORDS[a][i % 4]} {tiny.WORDS[b][i // 4 % 4]} {i}", f"{a};{b}" if a != b else a)
            for i, (a, b) in enumerate([("code", "snow"), ("snow", "snow"), ("sun", "code"), ("sun", "sun")] * 20)]
    data = tmp_path / "mail.tsv"
    data.write_text("text\tlabel\n" + "".join("\t".join(row) + "\n" for row in rows))
    save_model(tmp_path / "base.h5", tiny.language_model())
    config = FinetuneConfig(str(data), label_separator=";", base=str(tmp_path / "base.h5"), teachers=(BAG_OF_WORDS,),
                            recombined=50, epochs=1)
    labelled, split, _, found, _ = targets(config, tmp_path)
    assert found.shape == (80 + 50, 3)
    assert ((found[split.train] >= 0.5) == (labelled.labels[split.train] == 1)).all()
    result = finetune_classifier(config, tmp_path / "run")
    again = finetune_classifier(replace(config, teachers=(str(tmp_path / "run"),)), tmp_path / "second")
    assert again.saved.labels == result.saved.labels
    unlabelled = texts_without_labels(config, labelled, split)
    kept = np.load(tmp_path / "second" / "teachers.npy")[80:]
    said = [list(answer.probabilities.values()) for answer in classify(result.saved, unlabelled)]
    np.testing.assert_allclose(kept, said, rtol=1e-4, atol=1e-6)
    one = FinetuneConfig(str(tiny.labelled_file(tmp_path / "three.csv")), base=config.base,
                         teachers=str(tmp_path / "run"))
    with pytest.raises(UsageError, match=r"it gives a text any number of labels, three\.csv one label; give one"):
        finetune_classifier(one, tmp_path / "third")


def test_what_cannot_teach_is_refused(config, tmp_path, monkeypatch):
    save_model(tmp_path / "two.h5", tiny.classifier(labels=("ham", "spam")))
    for teacher, message in ((tmp_path / "two.h5", r"two\.h5': its classes are ham, spam; those of three\.csv are"),
                             (config.base, r"its classes are none; those of three\.csv are code, snow, sun")):
        with pytest.raises(UsageError, match=message):
            finetune_classifier(replace(config, teachers=(str(teacher),)), tmp_path / "run")
        assert not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match="recombined texts have no labels of their own"):
        replace(config, teachers=(), unlabelled=None)
    with pytest.raises(UsageError, match=r"no search \(.*bag-of-words\): the time that teachers take is not known"):
        find_setting(config, 60, [], tmp_path / "search")
    monkeypatch.setitem(sys.modules, "sklearn.feature_extraction.text", None)  # as if scikit-learn were not installed
    with pytest.raises(UsageError, match="teacher 'bag-of-words': scikit-learn is not installed"):
        finetune_classifier(replace(config, teachers=(BAG_OF_WORDS,)), tmp_path / "run")


def test_a_teacher_that_has_seen_the_test_texts_is_named(config, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "bag_of_words", lambda data, split: None)
    alone = replace(config, teachers=(), recombined=0, unlabelled=None)
    finetune_classifier(replace(alone, split_seed=5), tmp_path / "other")
    taught = replace(alone, teachers=(str(tmp_path / "other"),))
    assert "other was trained on texts of three.csv already" in finetune_classifier(taught, tmp_path / "run").caution
    finetune_classifier(alone, tmp_path / "same")
    assert finetune_classifier(replace(alone, teachers=(str(tmp_path / "same"),)), tmp_path / "b").caution == ""


def test_a_teacher_that_has_changed_ends_a_run(config, tmp_path):
    class Stop(Exception):
        pass

    def stop(progress):
        raise Stop

    with pytest.raises(Stop):
        finetune_classifier(config, tmp_path / "run", stop)
    assert (tmp_path / "run" / "teachers.npy").exists()
    save_model(tmp_path / "teacher.h5", tiny.classifier(labels=("sun", "snow", "code")))
    with pytest.raises(CheckpointError, match=r"teacher\.h5"):
        recipe.resume_classifier(tmp_path / "run")
