"""Figures that judge a classifier."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

__all__ = ["ClassFigures", "Report", "judge"]

N_BINS = 10


@dataclass(frozen=True)
class ClassFigures:
    """One class: how many texts have it, how many were called so, and how well the two agree."""

    label: str
    count: int
    predicted: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Report:
    """How a classifier did on labelled texts.

    Args:
        count: texts.
        accuracy: share of right answers; accuracy_interval: its 95 % Wilson interval.
        majority: the accuracy of always naming the commonest class.
        f1: of the rarer class if there are two, else the mean over classes.
        classes: figures of each class.
        confusion: counts, a row per true class, a column per predicted class.
        log_loss: mean negative log-probability of the true class, in nats.
        calibration_error: mean distance between confidence and accuracy over ten bins of confidence, weighted
            by their counts (Guo et al. 2017, arXiv:1706.04599).
        calibration: the bins that are not empty, as (mean confidence, accuracy, count).
    """

    count: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    majority: float
    f1: float
    classes: list[ClassFigures]
    confusion: list[list[int]]
    log_loss: float
    calibration_error: float
    calibration: list[tuple[float, float, int]]

    def to_dict(self) -> dict:
        """As plain JSON values."""
        return asdict(self)


def judge(probabilities: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> Report:
    """Compare predictions with the truth.

    Args:
        probabilities: (N, K), N ≥ 1; the prediction is the largest of a row.
        labels: (N,) integers, the true classes.
        names: of the K classes.
    """
    predicted = probabilities.argmax(axis=1)
    confusion = np.zeros((len(names), len(names)), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    count, right = len(labels), int(np.trace(confusion))
    classes = [_class_figures(name, confusion, k) for k, name in enumerate(names)]
    rarest = min(classes, key=lambda figures: figures.count)
    bins = _calibration(probabilities.max(axis=1), predicted == labels)
    true_probability = np.maximum(probabilities[np.arange(count), labels], np.finfo(probabilities.dtype).tiny)
    return Report(
        count=count, accuracy=right / count, accuracy_interval=_wilson(right, count),
        majority=int(confusion.sum(axis=1).max()) / count,
        f1=rarest.f1 if len(names) == 2 else sum(figures.f1 for figures in classes) / len(classes),
        classes=classes, confusion=confusion.tolist(), log_loss=float(-np.log(true_probability).mean()),
        calibration_error=sum(abs(confidence - accuracy) * n for confidence, accuracy, n in bins) / count,
        calibration=bins,
    )


def _class_figures(name, confusion, k):
    right, count, predicted = (int(n) for n in (confusion[k, k], confusion[k].sum(), confusion[:, k].sum()))
    return ClassFigures(name, count, predicted, precision=right / predicted if predicted else 0.0,
                        recall=right / count if count else 0.0,
                        f1=2 * right / (count + predicted) if count + predicted else 0.0)


def _wilson(right, count, z=1.959964):
    """95 % confidence interval of a proportion (Wilson 1927)."""
    share, z2 = right / count, z * z / count
    middle = (share + z2 / 2) / (1 + z2)
    half = z / (1 + z2) * math.sqrt(share * (1 - share) / count + z2 / (4 * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def _calibration(confidence, right):
    which = np.minimum((confidence * N_BINS).astype(int), N_BINS - 1)
    return [(float(confidence[which == b].mean()), float(right[which == b].mean()), int((which == b).sum()))
            for b in range(N_BINS) if (which == b).any()]
