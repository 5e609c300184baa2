import math

import numpy as np
import pytest

from tinygrad_gpt.figures.classification import judge


def drawn(n=500, classes=3, seed=0):
    r = np.random.default_rng(seed)
    probabilities = r.dirichlet(np.ones(classes), n)
    return probabilities, r.integers(0, classes, n)


def test_figures_worked_out_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    report = judge(probabilities, np.array([0, 0, 1, 1]), ["ham", "spam"])
    assert report.count == 4
    assert report.accuracy == 0.75
    assert report.majority == 0.5
    assert report.confusion == [[2, 0], [1, 1]]
    ham, spam = report.classes
    assert (ham.count, ham.predicted, ham.precision, ham.recall) == (2, 3, 2 / 3, 1.0)
    assert (spam.count, spam.predicted, spam.precision, spam.recall) == (2, 1, 1.0, 0.5)
    assert ham.f1 == pytest.approx(0.8)
    assert spam.f1 == pytest.approx(2 / 3)
    assert report.log_loss == pytest.approx(-np.log([0.9, 0.8, 0.7, 0.4]).mean())
    # Four bins of one text each: |0.9 − 1|, |0.8 − 1|, |0.7 − 1|, |0.6 − 0|.
    assert report.calibration_error == pytest.approx((0.1 + 0.2 + 0.3 + 0.6) / 4)
    assert report.calibration == [(0.6, 0.0, 1), (0.7, 1.0, 1), (0.8, 1.0, 1), (0.9, 1.0, 1)]


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_figures_are_scikit_learns(classes):
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn, the oracle, is not installed")
    probabilities, labels = drawn(classes=classes)
    report = judge(probabilities, labels, [str(i) for i in range(classes)])
    predicted = probabilities.argmax(axis=1)
    assert report.accuracy == pytest.approx(metrics.accuracy_score(labels, predicted), abs=1e-12)
    assert report.log_loss == pytest.approx(metrics.log_loss(labels, probabilities), rel=1e-12)
    assert report.confusion == metrics.confusion_matrix(labels, predicted).tolist()
    expected = zip(*metrics.precision_recall_fscore_support(labels, predicted), strict=True)
    for ours, theirs in zip(report.classes, expected, strict=True):
        assert (ours.precision, ours.recall, ours.f1, ours.count) == pytest.approx(theirs, abs=1e-12)
    if classes > 2:
        assert report.f1 == pytest.approx(metrics.f1_score(labels, predicted, average="macro"), abs=1e-12)
    assert sum(n for _, _, n in report.calibration) == report.count == 500


def test_of_two_classes_the_rarer_ones_f1_counts():
    probabilities, _ = drawn(classes=2)
    labels = (np.arange(500) % 5 == 0).astype(int)
    report = judge(probabilities, labels, ["ham", "spam"])
    assert report.majority == 0.8
    assert report.f1 == report.classes[1].f1
    assert judge(probabilities, 1 - labels, ["spam", "ham"]).f1 != report.f1


def test_the_interval_is_wilsons():
    # Newcombe 1998, table I, method 3: 81 of 263 gives 0.2553 … 0.3662, 0 of 20 gives 0 … 0.1611.
    def interval(right, n):
        predicted = np.tile([1.0, 0.0], (n, 1))
        return judge(predicted, np.array([0] * right + [1] * (n - right)), ["a", "b"]).accuracy_interval

    assert interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert interval(20, 20) == pytest.approx((1 - 0.1611, 1.0), abs=5e-5)


def test_a_certain_mistake_has_a_finite_log_loss():
    report = judge(np.array([[1.0, 0.0]], np.float32), np.array([1]), ["a", "b"])
    assert report.log_loss == pytest.approx(-math.log(np.finfo(np.float32).tiny), rel=1e-6)


def test_a_class_that_never_occurs_has_figures_of_zero():
    report = judge(np.array([[0.9, 0.1, 0.0]]), np.array([0]), ["a", "b", "c"])
    assert [(c.precision, c.recall, c.f1) for c in report.classes] == [(1, 1, 1), (0, 0, 0), (0, 0, 0)]


def test_a_report_is_plain_values():
    import json

    probabilities, labels = drawn()
    report = judge(probabilities, labels, ["a", "b", "c"])
    assert json.loads(json.dumps(report.to_dict()))["confusion"] == report.confusion
