"""Classify texts with a saved model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tinygrad_gpt import ops
from tinygrad_gpt.data.batches import length_batches, truncate
from tinygrad_gpt.engine import no_grad
from tinygrad_gpt.errors import DataError, NonFiniteError
from tinygrad_gpt.recipes.classification.inputs import Texts
from tinygrad_gpt.runs.saved_model import SavedModel
from tinygrad_gpt.text import Tokenizer

__all__ = ["Prediction", "classify", "encode_texts", "predict"]


@dataclass(frozen=True)
class Prediction:
    """The answer for one text.

    Args:
        text: as given.
        label, probability: the likeliest class.
        probabilities: of every class.
        tokens: how many tokens the text has.
        truncated: whether it was longer than the model's context, so that its end was not read.
    """

    text: str
    label: str
    probability: float
    probabilities: dict[str, float]
    tokens: int
    truncated: bool


def classify(saved: SavedModel, texts: Sequence[str], batch_size: int = 32) -> list[Prediction]:
    """Label each text; apart from rounding, an answer does not depend on the other texts.

    Raises:
        UsageError: "the model is a language model, not a classifier; …".
        DataError: "empty text (text 2): there is nothing to classify; …".
    """
    model = saved.classifier
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            raise DataError(f"empty text (text {number}): there is nothing to classify; give a text with words")
    tokens, _ = encode_texts(saved.tokenizer, texts, None, model.reading.start)
    read = [model.reading.trimmed(ids) for ids in truncate(tokens, model.context)[0]]
    probabilities = predict(Texts(model, read), batch_size=batch_size)
    return [
        Prediction(text, saved.labels[int(row.argmax())], float(row.max()),
                   {label: float(p) for label, p in zip(saved.labels, row, strict=True)},
                   tokens=len(ids) - model.reading.start, truncated=len(ids) > model.context)
        for text, ids, row in zip(texts, tokens, probabilities, strict=True)
    ]


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str], context: int | None,
                 start: bool = True) -> tuple[list[list[int]], int]:
    """Ids of each text, and how many texts lost their end.

    Args:
        context: the most ids of a text; None: all.
        start: put the token first with which every document began in pretraining: the end of text, or the vocabulary's
            own.
    """
    begin = tokenizer.layout.start_id
    first = [tokenizer.eot_id if begin is None else begin] if start else []
    tokens = [[*first, *tokenizer.encode(text)] for text in texts]
    return truncate(tokens, context) if context else (tokens, 0)


def predict(inputs: Texts, rows: np.ndarray | None = None, batch_size: int = 32) -> np.ndarray:
    """Probabilities (N, K) float32 of the classes; texts of about the same length are computed together.

    Args:
        inputs: the model and the texts.
        rows: which of them, N; None: all.

    Raises:
        NonFiniteError: "probabilities are not numbers (text 7): …".
    """
    rows = np.arange(len(inputs.lengths)) if rows is None else rows
    model = inputs.model
    result = np.empty((len(rows), model.score.weight.shape[1]), np.float32)
    model.eval()
    with no_grad():
        for places in length_batches(inputs.lengths[rows], batch_size, seed=0, epoch=0, shuffle=False):
            result[places] = ops.softmax(inputs.logits(rows[places])).numpy()
    if not np.isfinite(result).all():
        first = int(np.flatnonzero(~np.isfinite(result).all(axis=1))[0])
        raise NonFiniteError(f"probabilities are not numbers (text {first + 1}): the model's weights overflow; "
                             "use another model, or train it again with a lower learning rate")
    return result
