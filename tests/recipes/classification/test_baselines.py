"""The bag of words."""

import sys

import tiny

from tinygrad_gpt.data.classification import read_labelled, split_by_text
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
