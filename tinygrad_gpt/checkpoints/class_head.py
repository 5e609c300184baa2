"""The classes of a published model that classifies, such as transformers' GPT2ForSequenceClassification.

GPT-2's scores are score.weight · ln_f(h) at the last token that is not the padding, without a bias; an encoder's are
those of its pooled first token, with one. Those of the book's chapter 6 have one, too, and are read at the last
position, the texts being filled up to one length.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinygrad_gpt.errors import CheckpointError

__all__ = ["ClassHead", "book_classes", "classes_of", "to_classes", "without_bias"]

BOOK_LENGTH = 120  # tokens of the longest training text in chapter 6


@dataclass(frozen=True)
class ClassHead:
    """The part of a published classifier behind its transformer.

    Args:
        weight: (K, C) float32.
        labels: names of the K classes.
        pad_id: the token that fills up texts; None: none.
        bias: (K) float32; None: none.
        filled: tokens up to which all texts are filled, the last of which is read; None: the last real token is read.
    """

    weight: np.ndarray
    labels: tuple[str, ...]
    pad_id: int | None
    bias: np.ndarray | None = None
    filled: int | None = None


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


def book_classes(content: Mapping[str, Any], weight: np.ndarray, bias: np.ndarray, vocab_size: int) -> ClassHead:
    """Return the head of a classifier of the book's chapter 6.

    Args:
        content: of a config.json beside it, which may name the classes and the length of the texts:
            {"id2label": {"0": "ham", "1": "spam"}, "max_length": 120}.
        weight: (K, C) float32.
        bias: (K,) float32.
        vocab_size: number of tokens.

    Raises:
        CheckpointError: as `classes_of`; "max_length is 0, not a whole number from 1 on; …"
    """
    length = content.get("max_length", BOOK_LENGTH)
    if type(length) is not int or not 1 <= length < 2**31:
        raise CheckpointError(f"max_length is {length!r:.60}, not a whole number from 1 on; correct config.json")
    if bias.shape != weight.shape[:1]:
        raise CheckpointError(f"the bias of its scores is {bias.shape}, expected {weight.shape[:1]}; use another copy")
    return replace(classes_of(content, weight, vocab_size), bias=bias, filled=length)


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
