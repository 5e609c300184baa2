"""Figures that judge a classifier of texts with any number of labels."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

__all__ = ["LabelFigures", "LabelsReport", "best_thresholds", "judge_labels"]


@dataclass(frozen=True)
class LabelFigures:
    """One label: its threshold, how many texts have it, how many were given it, and how well the two agree."""

    label: str
    threshold: float
    count: int
    predicted: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class LabelsReport:
    """How a classifier did on texts with several labels.

    Args:
        count: texts.
        accuracy: share of texts of which every label is right.
        f1, f1_micro: the mean of the labels' F1 (macro), and the F1 of all answers together.
        classes: figures of each label.
        log_loss: mean negative log-probability of an answer, over texts and labels, in nats.
    """

    count: int
    accuracy: float
    f1: float
    f1_micro: float
    classes: list[LabelFigures]
    log_loss: float

    def to_dict(self) -> dict:
        """As plain JSON values."""
        return asdict(self)


def judge_labels(probabilities: np.ndarray, labels: np.ndarray, names: Sequence[str],
                 thresholds: Sequence[float]) -> LabelsReport:
    """Compare predictions with the truth.

    Args:
        probabilities: (N, K), N ≥ 1, each for itself.
        labels: (N, K) of 0 and 1.
        names: of the K labels.
        thresholds: (K); a text has the labels whose probabilities reach them.
    """
    predicted, true = probabilities >= np.asarray(thresholds), labels > 0.5
    counts = np.array([(predicted & true).sum(0), true.sum(0), predicted.sum(0)])  # (3, K)
    figures = [LabelFigures(name, float(threshold), int(count), int(called), right / called if called else 0.0,
                            right / count if count else 0.0, _f1(right, count, called))
               for name, threshold, (right, count, called) in zip(names, thresholds, counts.T.tolist(), strict=True)]
    given = np.where(true, probabilities, 1 - probabilities)
    return LabelsReport(
        len(labels), float((predicted == true).all(axis=1).mean()), sum(f.f1 for f in figures) / len(figures),
        _f1(*counts.sum(axis=1).tolist()), figures,
        float(-np.log(np.maximum(given, np.finfo(np.float32).tiny)).mean()))


def best_thresholds(probabilities: np.ndarray, labels: np.ndarray) -> tuple[float, ...]:
    """For each label the threshold with the best F1; among equals the nearest to 0.5, where no text has it 0.5.

    Args:
        probabilities: (N, K) of texts that were not trained on.
        labels: (N, K) of 0 and 1.
    """
    return tuple(_best_threshold(*column) for column in zip(probabilities.T, labels.T > 0.5, strict=True))


def _best_threshold(probabilities: np.ndarray, true: np.ndarray) -> float:
    if not true.any():
        return 0.5
    values = np.unique(probabilities.astype(float))
    candidates = np.append((values[1:] + values[:-1]) / 2, 0.5)
    scores = [_f1(int((probabilities >= t)[true].sum()), int(true.sum()), int((probabilities >= t).sum()))
              for t in candidates]
    return min(zip(scores, candidates.tolist(), strict=True), key=lambda pair: (-pair[0], abs(pair[1] - 0.5)))[1]


def _f1(right: float, count: float, predicted: float) -> float:
    return 2 * right / (count + predicted) if count + predicted else 0.0
