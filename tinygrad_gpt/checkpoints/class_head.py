"""The classes of a published model that classifies, such as transformers' GPT2ForSequenceClassification.

GPT-2's scores are score.weight · ln_f(h) at the last token that is not the padding, without a bias; an encoder's are
those of its pooled first token, with one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_gpt.errors import CheckpointError

__all__ = ["ClassHead", "classes_of", "to_classes", "without_bias"]


@dataclass(frozen=True)
class ClassHead:
    """The part of a published classifier behind its transformer.

    Args:
        weight: (K, C) float32.
        labels: names of the K classes.
        pad_id: the token that fills up texts; None: none.
        bias: (K) float32; None: none.
    """

    weight: np.ndarray
    labels: tuple[str, ...]
    pad_id: int | None
    bias: np.ndarray | None = None


def classes_of(content: Mapping[str, Any], weight: np.ndarray, vocab_size: int) -> ClassHead:
    """Return the head that score.weight and config.json describe.

    Raises:
        CheckpointError: a reason without the file's name: "problem_type is 'regression', …".
    """
    count = len(weight)
    kind = content.get("problem_type")
    if kind not in (None, "single_label_classification"):
        raise CheckpointError(f"problem_type is {kind!r:.60}, and only 'single_label_classification' is known here; "
                              "give a classifier of one class for each text")
    names = content.get("id2label")
    if names is None:
        names = {str(i): f"LABEL_{i}" for i in range(count)}  # as transformers names them
    expected = [str(i) for i in range(count)]
    if not isinstance(names, dict) or sorted(names) != sorted(expected) or not all(
            isinstance(label, str) and label for label in names.values()):
        raise CheckpointError(f"id2label does not name {count} classes, 0 to {count - 1}, as the scores have; correct "
                              "config.json")
    labels = tuple(names[i] for i in expected)
    if count < 2 or len(set(labels)) < count:
        raise CheckpointError(f"id2label has {len(set(labels))} different classes, and needs 2 or more, each once; "
                              "correct config.json")
    pad_id = content.get("pad_token_id")
    return ClassHead(weight, labels, pad_id if type(pad_id) is int and 0 <= pad_id < vocab_size else None)


def to_classes(labels: Sequence[str], pad_id: int,
               architecture: str = "GPT2ForSequenceClassification") -> dict[str, Any]:
    """Return the fields of a config.json that describe the head."""
    return {"architectures": [architecture], "pad_token_id": pad_id,
            "problem_type": "single_label_classification",
            "id2label": {str(i): label for i, label in enumerate(labels)},
            "label2id": {label: i for i, label in enumerate(labels)}}


def without_bias(weight: np.ndarray, bias: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return the bias of ln_f with which the scores need none of their own.

    The scores are W (z + shift) + b, so the smallest change d of shift with W d = b replaces b.

    Args:
        weight: W, (K, C).
        bias: b, (K).
        shift: the bias of ln_f, (C).

    Raises:
        CheckpointError: "its scores have a bias that ln_f cannot take over; …".
    """
    wide, b = weight.astype(np.float64), bias.astype(np.float64)
    change = np.linalg.lstsq(wide, b, rcond=None)[0]
    if np.abs(wide @ change - b).max(initial=0) > 1e-6 * max(1.0, np.abs(b).max(initial=0)):
        raise CheckpointError("its scores have a bias that ln_f cannot take over; train it longer")
    return (shift + change).astype(shift.dtype)
