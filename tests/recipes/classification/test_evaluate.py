"""Figures for labelled texts."""

import numpy as np
import pytest
import tiny

from tinygrad_gpt.data.classification import read_labelled, split_by_text
from tinygrad_gpt.errors import DataError, UsageError
from tinygrad_gpt.files import sha256_of
from tinygrad_gpt.recipes.classification.classify import classify
from tinygrad_gpt.recipes.classification.evaluate import evaluate


@pytest.fixture
def data(tmp_path):
    return read_labelled(tiny.labelled_file(tmp_path / "a.csv"))


def test_the_figures_are_those_of_the_answers(data):
    saved = tiny.classifier()
    answers = [answer.label for answer in classify(saved, data.texts)]
    truth = [data.classes[i] for i in data.labels]
    result = evaluate(saved, data)
    assert result.report.accuracy == np.mean([a == b for a, b in zip(answers, truth, strict=True)])
    assert result.report.count == 60
    assert len(result.mistakes) == 60 - np.trace(result.report.confusion)
    assert result.counts == "61 lines read, 60 records, 0 skipped (1 header); all 60 judged"
    assert result.truncated == sum(answer.truncated for answer in classify(saved, data.texts))


def test_mistakes_are_wrong_and_the_surest_come_first(data):
    saved = tiny.classifier()
    mistakes = evaluate(saved, data).mistakes
    assert len(mistakes) > 3
    assert [m.probability for m in mistakes] == sorted((m.probability for m in mistakes), reverse=True)
    truth = dict(zip(data.texts, (data.classes[i] for i in data.labels), strict=True))
    for mistake in mistakes:
        assert mistake.label == truth[mistake.text] != mistake.predicted


def test_parts_are_those_of_the_model_s_own_split(data):
    saved = tiny.classifier(config={"split_seed": 5})
    split = split_by_text(data, seed=5)
    sizes = {part: evaluate(saved, data, part).report.count for part in ("train", "validation", "test")}
    assert sizes == {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)}
    test_texts = {data.texts[i] for i in split.test}
    assert {m.text for m in evaluate(saved, data, "test").mistakes} <= test_texts
    assert evaluate(saved, data, "test").counts.endswith(f"{len(split.test)} texts of the test part judged")


def test_a_part_is_refused_for_another_file(data, tmp_path):
    same = tiny.classifier(config={"split_seed": 5}, sha256={"a.csv": sha256_of(tmp_path / "a.csv")})
    assert evaluate(same, data, "test").report.count == 12
    other = tiny.classifier(config={"split_seed": 5}, sha256={"mail.csv": "0" * 64})
    with pytest.raises(UsageError, match=r"no test part \(.*a.csv\): .* finetuned on another file, 'mail.csv'"):
        evaluate(other, data, "test")
    assert evaluate(other, data).report.count == 60


def test_only_the_file_that_was_divided_has_parts(data, tmp_path):
    digests = {"mail.csv": "0" * 64, "a.csv": sha256_of(tmp_path / "a.csv")}
    for setting in ("extra", "unlabelled"):
        learned = tiny.classifier(config={"split_seed": 5, "data": "mail.csv", setting: "a.csv"}, sha256=digests)
        with pytest.raises(UsageError, match=r"another file, 'mail.csv', and only that was divided; give it, or"):
            evaluate(learned, data, "test")
    divided = tiny.classifier(config={"split_seed": 5, "data": "a.csv", "extra": "mail.csv"}, sha256=digests)
    assert evaluate(divided, data, "test").report.count == 12


def test_a_file_that_was_trained_on_is_named_as_such(data, tmp_path):
    digests = {"mail.csv": "0" * 64, "a.csv": sha256_of(tmp_path / "a.csv")}
    seen = "new texts will fare worse: the model was trained on texts of this file"
    for config, caution in (({"data": "a.csv"}, f"{seen}; its test part has others"),
                            ({"data": "a.csv", "test": "mail.csv"}, seen),
                            ({"data": "mail.csv", "extra": "a.csv"}, seen),
                            ({"data": "mail.csv", "test": "a.csv"}, "")):
        saved = tiny.classifier(config={"split_seed": 5, **config}, sha256=digests)
        assert evaluate(saved, data).caution == caution
    divided = tiny.classifier(config={"split_seed": 5, "data": "a.csv"}, sha256=digests)
    assert evaluate(divided, data, "test").caution == ""
    assert evaluate(tiny.classifier(), data).caution == ""


def test_a_part_is_refused_where_there_was_a_test_file(data):
    saved = tiny.classifier(config={"split_seed": 5, "test": "judged.csv"})
    with pytest.raises(UsageError, match=r"no train part: .* a test file of its own, 'judged.csv'; evaluate all rows"):
        evaluate(saved, data, "train")
    assert evaluate(saved, data).report.count == 60


def test_labels_may_be_a_subset_and_are_matched_by_name(tmp_path):
    data = read_labelled(tiny.labelled_file(tmp_path / "a.csv", classes=("sun", "code")))
    saved = tiny.classifier(labels=("sun", "snow", "code"))
    report = evaluate(saved, data).report
    assert [figures.label for figures in report.classes] == ["sun", "snow", "code"]
    assert [figures.count for figures in report.classes] == [30, 0, 30]


def test_what_cannot_be_judged_is_refused(data):
    with pytest.raises(DataError, match=r"unknown labels \(.*a.csv\): 'code', 'sun' are not among .*'ham', 'snow'"):
        evaluate(tiny.classifier(labels=("ham", "snow")), data)
    with pytest.raises(UsageError, match="does not say how its data were split"):
        evaluate(tiny.classifier(), data, "test")
    with pytest.raises(UsageError, match="language model"):
        evaluate(tiny.language_model(), data)
