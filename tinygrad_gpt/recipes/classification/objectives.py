"""What a classifier is trained for: one class for each text, or any number of labels."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from tinygrad_gpt import ops
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.figures.classification import Report, judge
from tinygrad_gpt.figures.several_labels import LabelsReport, best_thresholds, judge_labels
from tinygrad_gpt.nn.losses import binary_cross_entropy_with_logits

__all__ = ["ONE_CLASS", "Objective", "OneClass", "SeveralLabels", "objective_of"]


class Objective(Protocol):
    """The loss of scores, what they mean, and how answers are judged."""

    thresholds: tuple[float, ...]

    def weights(self, labels: np.ndarray) -> np.ndarray:
        """Weights (K) float64 with which classes count alike, however many texts they have."""

    def loss(self, scores: Tensor, labels: np.ndarray, weights: np.ndarray | None, on_device: Any) -> Tensor:
        """The mean over B texts.

        Args:
            scores: (B, K).
            labels: of these texts, or (B, K) probabilities that a teacher gives them; on the host.
            weights: as `weights` gives them, or None.
            on_device: brings an array to where the scores are.
        """

    def probabilities(self, scores: Tensor) -> Tensor:
        """(B, K) of scores (B, K)."""

    def judge(self, probabilities: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> Any:
        """Figures of answers (N, K)."""

    def fitted(self, probabilities: np.ndarray, labels: np.ndarray) -> "Objective":
        """The same, with what is chosen on validation texts."""


class OneClass:
    """Each text has one class: softmax and cross-entropy. Labels are (N,) integers."""

    thresholds: tuple[float, ...] = ()

    def weights(self, labels: np.ndarray) -> np.ndarray:
        """N / (K · texts of the class), as scikit-learn has it; their mean over the N texts is 1."""
        counts = np.bincount(labels)
        return len(labels) / (len(counts) * counts)

    def loss(self, scores: Tensor, labels: np.ndarray, weights: np.ndarray | None, on_device: Any) -> Tensor:
        """Cross-entropy; a weight multiplies the loss of each text of its class.

        The weights of a batch do not divide its loss, or a text alone in a batch would always count 1. With a
        teacher's probabilities q the loss of a text is - Σ q log p, and its gradient p - q (Hinton et al. 2015).
        """
        if labels.ndim == 2:
            wanted = labels if weights is None else labels * weights
            return -(ops.log_softmax(scores) * Tensor(on_device(wanted.astype(str(scores.dtype))))).sum() / len(labels)
        if weights is None:
            return ops.cross_entropy(scores, on_device(labels))
        taken = on_device(weights.astype(str(scores.dtype)))
        return ops.cross_entropy(scores, on_device(labels), taken) * float(weights[labels].mean())  # it divides by that

    def probabilities(self, scores: Tensor) -> Tensor:
        """Softmax."""
        return ops.softmax(scores)

    def judge(self, probabilities: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> Report:
        """Figures of the likeliest class."""
        return judge(probabilities, labels, names)

    def fitted(self, probabilities: np.ndarray, labels: np.ndarray) -> "OneClass":
        """The same: nothing is chosen."""
        return self


class SeveralLabels:
    """A text has any number of labels: a sigmoid and binary cross-entropy for each. Labels are (N, K) of 0 and 1.

    Args:
        thresholds: (K); a text has the labels whose probabilities reach them. Empty: 0.5.
    """

    def __init__(self, thresholds: Sequence[float] = ()):
        self.thresholds = tuple(thresholds)

    def weights(self, labels: np.ndarray) -> np.ndarray:
        """Texts without the label / texts with it: by how much the latter count more."""
        have = labels.sum(axis=0, dtype=np.float64)
        return np.where(have > 0, (len(labels) - have) / np.maximum(have, 1), 1.0)

    def loss(self, scores: Tensor, labels: np.ndarray, weights: np.ndarray | None, on_device: Any) -> Tensor:
        """The sum over the labels of their binary cross-entropies, the mean over the texts."""
        targets = Tensor(on_device(labels.astype(str(scores.dtype))))
        positive = None if weights is None else Tensor(on_device(weights.astype(str(scores.dtype))))
        return binary_cross_entropy_with_logits(scores, targets, pos_weight=positive) * float(labels.shape[1])

    def probabilities(self, scores: Tensor) -> Tensor:
        """Of each label for itself."""
        return ops.sigmoid(scores)

    def judge(self, probabilities: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> LabelsReport:
        """Figures of the labels over their thresholds."""
        return judge_labels(probabilities, labels, names, self.thresholds or [0.5] * len(names))

    def fitted(self, probabilities: np.ndarray, labels: np.ndarray) -> "SeveralLabels":
        """With the threshold of each label that has the best F1 on these texts."""
        return SeveralLabels(best_thresholds(probabilities, labels))


ONE_CLASS = OneClass()


def objective_of(labels: np.ndarray) -> Objective:
    """The objective that fits labels (N,) or (N, K)."""
    return ONE_CLASS if labels.ndim == 1 else SeveralLabels()
