"""Temperature scaling: probabilities that are right as often as they say.

A temperature T divides the scores of all classes; it changes no answer. It is the one with the lowest log loss on the
validation texts. Their labels are smoothed as Platt smoothed his, so that a few texts, all answered rightly, make no
answer certain: of N texts, a label counts (N + 1) / (N + 2), and the other classes share the rest. Fewer than 30 texts
say too little, and the scores stay as they are.

Source: Guo et al. 2017, arXiv:1706.04599; Platt 1999, "Probabilistic outputs for support vector machines", section 2.2.
"""

from dataclasses import dataclass

import numpy as np

from tinygrad_gpt.figures.classification import judge
from tinygrad_gpt.models.classifier import TextClassifier
from tinygrad_gpt.recipes.classification.classify import predict
from tinygrad_gpt.recipes.classification.inputs import Texts

__all__ = ["FEWEST", "Calibration", "best_temperature", "calibrate", "divide_scores", "judged_before", "tempered"]

LOWEST, HIGHEST = 0.05, 20.0
FEWEST = 30  # validation texts that a temperature is fitted on


@dataclass(frozen=True)
class Calibration:
    """What a temperature did.

    Args:
        temperature: by which the scores were divided.
        validation_before, validation_after, test_before, test_after: calibration error on both parts, as in `Report`.
    """

    temperature: float
    validation_before: float
    validation_after: float
    test_before: float
    test_after: float


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities (N, K) when all scores are divided by a temperature; float64."""
    scores = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny, dtype=np.float64)) / temperature
    scores -= scores.max(axis=1, keepdims=True)
    return np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)


def best_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature with the lowest log loss for smoothed labels, from 0.05 to 20.

    Args:
        probabilities: (N, K) at temperature 1, N ≥ 1.
        labels: (N,) the class of each text.
    """
    from scipy.optimize import minimize_scalar

    count, n_classes = probabilities.shape
    targets = np.full(probabilities.shape, 1 / (count + 2) / max(1, n_classes - 1))
    targets[np.arange(count), labels] = (count + 1) / (count + 2)

    def loss(log_temperature: float) -> float:
        predicted = tempered(probabilities, float(np.exp(log_temperature)))
        return -float((targets * np.log(np.maximum(predicted, np.finfo(np.float64).tiny))).sum(axis=1).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded").x))


def divide_scores(model: TextClassifier, temperature: float) -> None:
    """Divide a model's scores by a temperature, in the weights of its head: they are saved, exported and read so."""
    for parameter in model.score.parameters():
        parameter.data[...] = parameter.data / np.float32(temperature)
        parameter.mark_changed()


def calibrate(inputs: Texts, labels: np.ndarray, rows: np.ndarray) -> float:
    """Divide the scores of a model by the temperature that suits some of its texts, and return it.

    Args:
        labels: (N,) the class of each text.
        rows: which texts to fit it on; fewer than `FEWEST` leave it at 1.
    """
    if len(rows) < FEWEST:
        return 1.0
    temperature = best_temperature(predict(inputs, rows), labels[rows])
    divide_scores(inputs.model, temperature)
    return temperature


def judged_before(probabilities: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    """The calibration error that probabilities (N, K) would have without their temperature."""
    names = [str(k) for k in range(probabilities.shape[1])]
    return judge(tempered(probabilities, 1 / temperature), labels, names).calibration_error
