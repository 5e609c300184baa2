"""Figures of answers with any number of labels, beside scikit-learn's."""

import numpy as np
import pytest

from tinygrad_gpt.figures.several_labels import best_thresholds, judge_labels

NAMES = ["a", "b", "c"]


def drawn(seed=0, count=200):
    generator = np.random.default_rng(seed)
    labels = (generator.random((count, 3)) < [0.5, 0.1, 0.02]).astype(np.float32)
    return np.clip(0.4 * labels + 0.6 * generator.random((count, 3)), 0, 1).astype(np.float32), labels


def test_figures_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    probabilities, labels = drawn()
    thresholds = [0.5, 0.7, 0.9]
    report = judge_labels(probabilities, labels, NAMES, thresholds)
    predicted = probabilities >= thresholds
    precision, recall, f1, count = metrics.precision_recall_fscore_support(labels, predicted, zero_division=0)
    for k, figures in enumerate(report.classes):
        assert (figures.label, figures.count, figures.threshold) == (NAMES[k], count[k], thresholds[k])
        assert (figures.precision, figures.recall, figures.f1) == pytest.approx((precision[k], recall[k], f1[k]))
    assert report.f1 == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
    assert report.f1_micro == pytest.approx(metrics.f1_score(labels, predicted, average="micro"))
    assert report.accuracy == pytest.approx(metrics.accuracy_score(labels, predicted))
    losses = [metrics.log_loss(labels[:, k], probabilities[:, k].astype(float), labels=[0, 1]) for k in range(3)]
    assert report.log_loss == pytest.approx(np.mean(losses), rel=1e-4)
    assert report.to_dict()["classes"][0]["label"] == "a"


def test_no_other_threshold_has_a_better_f1():
    probabilities, labels = drawn(1)
    chosen = best_thresholds(probabilities, labels)
    best = judge_labels(probabilities, labels, NAMES, chosen)
    for other in np.linspace(0, 1, 101):
        figures = judge_labels(probabilities, labels, NAMES, [other] * 3)
        assert all(ours.f1 >= theirs.f1 for ours, theirs in zip(best.classes, figures.classes, strict=True))


def test_what_says_nothing_has_the_threshold_one_half():
    probabilities = np.array([[0.2, 0.3], [0.8, 0.4]], np.float32)
    assert best_thresholds(probabilities, np.array([[0, 0], [1, 0]], np.float32)) == (0.5, 0.5)
    report = judge_labels(probabilities, np.zeros((2, 2)), NAMES[:2], [0.9, 0.9])
    assert (report.accuracy, report.f1, report.f1_micro) == (1.0, 0.0, 0.0)
