"""The bag of words."""

import sys

import numpy as np
import pytest
import tiny

from tinygrad_gpt.data.classification import LabelledTexts, Split, read_labelled, split_by_text
from tinygrad_gpt.errors import TinygradError
from tinygrad_gpt.recipes.classification.baselines import bag_of_words


def test_a_bag_of_words_is_judged_on_the_test_part(tmp_path, monkeypatch):
    data = read_labelled(tiny.labelled_file(tmp_path / "a.csv"))
    split = split_by_text(data, seed=0)
    report = bag_of_words(data, split)
    assert report.count == len(split.test)
    assert report.accuracy > 0.9
    assert [figures.label for figures in report.classes] == data.classes
    monkeypatch.setitem(sys.modules, "sklearn.feature_extraction.text", None)  # as if scikit-learn were not installed
    assert bag_of_words(data, split) is None


def test_only_the_beginning_of_a_long_text_is_read():
    texts = [text for text, _ in tiny.texts(30)]
    labels = np.array([i % 3 for i in range(30)])
    split = Split(np.arange(21), np.arange(0), np.arange(21, 30))
    start = texts[0] + " ice" * 20_000
    reports = [bag_of_words(LabelledTexts([start[:20_000] + end, *texts[1:]], labels, list("abc")), split)
               for end in ("", " never read " * 50_000)]
    assert reports[0] == reports[1]


def test_texts_without_words_have_no_bag_and_other_failures_are_one_line(monkeypatch):
    split = Split(np.arange(6), np.arange(0), np.arange(6, 9))
    data = LabelledTexts(list("abcdefghi"), np.array([0, 1, 2] * 3), list("abc"))
    assert bag_of_words(data, split) is None
    monkeypatch.setattr("sklearn.linear_model.LogisticRegression.predict_proba", broken)
    words = LabelledTexts([text for text, _ in tiny.texts(9)], data.labels, data.classes)
    with pytest.raises(TinygradError, match=r"ValueError: broken; reinstall scikit-learn; the model is saved"):
        bag_of_words(words, split)
    monkeypatch.setattr("sklearn.linear_model.LogisticRegression.fit", broken)
    data = LabelledTexts([text for text, _ in tiny.texts(9)], data.labels, data.classes)
    with pytest.raises(TinygradError, match=r"cannot compare with a bag of words \(scikit-learn\): ValueError: broken"):
        bag_of_words(data, split)


def broken(*args, **settings):
    raise ValueError("broken")
