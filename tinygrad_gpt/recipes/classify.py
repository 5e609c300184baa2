"""Classify texts with a saved model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tinygrad_gpt import ops
from tinygrad_gpt.autograd import no_grad
from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.data.batches import length_batches, pad, truncate
from tinygrad_gpt.errors import DataError, NonFiniteError
from tinygrad_gpt.models.classifier import GPT2Classifier
from tinygrad_gpt.recipes.saved import SavedModel
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
        truncated: was it longer than the model's context, so that its end was not read?
    """

    text: str
    label: str
    probability: float
    probabilities: dict[str, float]
    tokens: int
    truncated: bool


def classify(saved: SavedModel, texts: Sequence[str], batch_size: int = 32) -> list[Prediction]:
    """Label each text; the answers do not depend on the other texts but for rounding.

    Raises:
        UsageError: "the model is a language model, not a classifier; …".
        DataError: "empty text (text 2): there is nothing to classify; …".
    """
    model, n_ctx = saved.classifier, saved.n_ctx
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            raise DataError(f"empty text (text {number}): there is nothing to classify; give a text with words")
    tokens = [_with_start(saved.tokenizer, text) for text in texts]
    probabilities = predict(model, truncate(tokens, n_ctx)[0], batch_size)
    return [
        Prediction(text, saved.labels[int(row.argmax())], float(row.max()),
                   {label: float(p) for label, p in zip(saved.labels, row, strict=True)},
                   tokens=len(ids) - 1, truncated=len(ids) > n_ctx)
        for text, ids, row in zip(texts, tokens, probabilities, strict=True)
    ]


def _with_start(tokenizer: Tokenizer, text: str) -> list[int]:
    """The text's ids behind an end-of-text token: so every document began in pretraining."""
    return [tokenizer.eot_id, *tokenizer.encode(text)]


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str], n_ctx: int) -> tuple[list[list[int]], int]:
    """Ids of each text, at most n_ctx, and how many texts lost their end."""
    return truncate([_with_start(tokenizer, text) for text in texts], n_ctx)


def predict(model: GPT2Classifier, token_lists: Sequence[list[int]], batch_size: int = 32) -> np.ndarray:
    """Probabilities (N, K) float32 of the classes; texts of like length are computed together.

    Raises:
        NonFiniteError: "probabilities are not numbers (text 7): …".
    """
    result = np.empty((len(token_lists), model.score.weight.shape[1]), np.float32)
    lengths = [len(ids) for ids in token_lists]
    model.eval()
    with no_grad():
        for rows in length_batches(lengths, batch_size, seed=0, epoch=0, shuffle=False):
            ids, ends = (model_array(model, array) for array in pad([token_lists[i] for i in rows], pad_id=0))
            result[rows] = ops.softmax(model(ids, ends)).numpy()
    if not np.isfinite(result).all():
        first = int(np.flatnonzero(~np.isfinite(result).all(axis=1))[0])
        raise NonFiniteError(f"probabilities are not numbers (text {first + 1}): the model's weights overflow; "
                             "use another model, or train it again with a lower learning rate")
    return result


def model_array(model: GPT2Classifier, array: np.ndarray):
    """A host array, brought to the backend that holds the model."""
    return backend_of(model.score.weight.data).from_numpy(array)
