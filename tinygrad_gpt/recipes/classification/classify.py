"""Classify texts with a saved model."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinygrad_gpt import ops
from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.backend.blas import in_threads
from tinygrad_gpt.data.batches import token_batches, truncate
from tinygrad_gpt.engine import Tensor, no_grad
from tinygrad_gpt.errors import DataError, NonFiniteError, UsageError
from tinygrad_gpt.parallel.group import current_group
from tinygrad_gpt.recipes.classification.inputs import Texts
from tinygrad_gpt.runs.saved_model import SavedModel
from tinygrad_gpt.text import Tokenizer

__all__ = [
    "SEVERAL_THRESHOLDS", "UNSURE", "LabelsPrediction", "Prediction", "classify", "classify_windows", "encode_texts",
    "predict", "refuse_empty", "with_unsure_below",
]


UNSURE = "unsure"  # in the place of a label
SEVERAL_THRESHOLDS = "the model gives a text any number of labels, each with a threshold of its own; leave it out"
BATCH_TOKENS = 1024  # computed together: their activations stay in the cache of a core
SEPARATOR = "; "  # of the labels of a text in a table
FIRST_WINDOW = 256  # texts that are read before the first of them is answered; each window has twice as many
WINDOW, WINDOW_CHARACTERS = 4096, 2**22  # texts, or characters, of a window at most


@dataclass(frozen=True)
class Prediction:
    """The answer for one text.

    Args:
        text: as given.
        label, probability: the likeliest class; "" and None for a row without text.
        probabilities: of every class.
        tokens: how many tokens the text has.
        truncated: whether it was longer than the model's context, so that its end was not read.
        unsure: whether the probability is below the one from which on the model's answers count.
    """

    text: str
    label: str
    probability: float
    probabilities: dict[str, float]
    tokens: int
    truncated: bool
    unsure: bool = False

    @property
    def answer(self) -> str:
        """What is said of the text: its label, or "unsure"."""
        return UNSURE if self.unsure else self.label

    def cells(self) -> tuple[Any, ...]:
        """A row of a table of answers."""
        return self.text, self.answer, self.probability


@dataclass(frozen=True)
class LabelsPrediction(Prediction):
    """The answer of a model with which a text may have any number of labels.

    Args:
        text, tokens, truncated: as in `Prediction`.
        label: those over their thresholds, with "; " between; probability: of the likeliest, of these or of all.
        probabilities: of every label, each for itself.
        labels: those over their thresholds.
    """

    labels: tuple[str, ...] = ()

    def cells(self) -> tuple[Any, ...]:
        """A row of a table of answers: text, labels, and the probability of every label."""
        return self.text, self.label, *self.probabilities.values()


def classify(saved: SavedModel, texts: Sequence[str], batch_tokens: int = BATCH_TOKENS) -> list[Prediction]:
    """Label each text; apart from rounding, an answer does not depend on the other texts.

    Args:
        saved: a classifier.
        texts: none of them empty.
        batch_tokens: as in `predict`.

    Raises:
        UsageError: "the model is a language model, not a classifier; …".
        DataError: "empty text (text 2): there is nothing to classify; …".
    """
    _ = saved.classifier  # refuses a language model
    refuse_empty(texts)
    return [answer for window in classify_windows(saved, texts, batch_tokens) for answer in window]


def with_unsure_below(saved: SavedModel, below: float) -> SavedModel:
    """The same classifier, whose answers below a probability are unsure.

    Raises:
        UsageError: "unsure_below is 0.9, but the model gives a text any number of labels, …".
    """
    if saved.thresholds:
        raise UsageError(f"unsure_below is {below:g}, but {SEVERAL_THRESHOLDS}")
    return replace(saved, unsure_below=below)


def refuse_empty(texts: Sequence[str]) -> None:
    """Refuse texts of which one is empty.

    Raises:
        DataError: "empty text (text 2): there is nothing to classify; …".
    """
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            raise DataError(f"empty text (text {number}): there is nothing to classify; give a text with words")


def classify_windows(saved: SavedModel, texts: Iterable[str],
                     batch_tokens: int = BATCH_TOKENS) -> Iterator[list[Prediction]]:
    """Answer texts that are read while they are answered, in their order, in memory that does not grow with them.

    Texts of about the same length within a window are computed together, and one that is there twice once. Windows grow
    from 256 texts to 4,096: what a stop loses of a slow model's work is no more than what it has kept, or 256 texts.

    Args:
        saved: a classifier.
        texts: any number of them; an empty one stands for a row without text.
        batch_tokens: as in `predict`.

    Yields:
        The answers of a window.
    """
    for window in _windows(texts):
        different = list(dict.fromkeys(text for text in window if text.strip()))
        answers = dict(zip(different, _answers(saved, different, batch_tokens), strict=True))
        yield [answers.get(text) or _no_answer(saved, text) for text in window]


def _windows(texts: Iterable[str]) -> Iterator[list[str]]:
    window: list[str] = []
    characters, most = 0, min(FIRST_WINDOW, WINDOW)
    for text in texts:
        window.append(text)
        characters += len(text)
        if len(window) >= most or characters >= WINDOW_CHARACTERS:
            yield window
            window, characters, most = [], 0, min(2 * most, WINDOW)
    if window:
        yield window


def _answers(saved: SavedModel, texts: Sequence[str], batch_tokens: int) -> list[Prediction]:
    model = saved.classifier
    tokens, _ = encode_texts(saved.tokenizer, texts, None, model.reading.start)
    read = [model.reading.trimmed(ids) for ids in truncate(tokens, model.context, model.specials // 2)[0]]
    probabilities = predict(Texts(model, read), batch_tokens=batch_tokens,
                            probabilities=ops.sigmoid if saved.thresholds else ops.softmax)
    answer = _labels_answer if saved.thresholds else _class_answer
    return [answer(saved, text, row, len(ids) - model.specials, len(ids) > model.context)
            for text, ids, row in zip(texts, tokens, probabilities.tolist(), strict=True)]


def _class_answer(saved: SavedModel, text: str, row: list[float], tokens: int, truncated: bool) -> Prediction:
    best = row.index(max(row))
    return Prediction(text, saved.labels[best], row[best], dict(zip(saved.labels, row, strict=True)), tokens, truncated,
                      unsure=row[best] < saved.unsure_below)


def _labels_answer(saved: SavedModel, text: str, row: list[float], tokens: int, truncated: bool) -> LabelsPrediction:
    labels = tuple(label for label, p, least in zip(saved.labels, row, saved.thresholds, strict=True) if p >= least)
    probabilities = dict(zip(saved.labels, row, strict=True))
    likeliest = max(map(probabilities.__getitem__, labels), default=max(row))
    return LabelsPrediction(text, SEPARATOR.join(labels), likeliest, probabilities, tokens, truncated, labels=labels)


def _no_answer(saved: SavedModel, text: str) -> Prediction:
    if saved.thresholds:
        return LabelsPrediction(text, "", None, dict.fromkeys(saved.labels), 0, False)  # type: ignore[arg-type]
    return Prediction(text, "", None, {}, 0, False)  # type: ignore[arg-type]


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str], context: int | None,
                 start: bool = True) -> tuple[list[list[int]], int]:
    """Ids of each text, and how many texts lost their end.

    Args:
        context: the most ids of a text; None: all.
        start: put the token first with which every document began in pretraining, the end of text or the vocabulary's
            own, and an encoder's [SEP] last; truncated texts keep them.
    """
    begin, end = tokenizer.layout.start_id, tokenizer.sep_id
    first = [tokenizer.eot_id if begin is None else begin] if start else []
    last = [end] if start and end is not None else []
    tokens = [[*first, *tokenizer.encode(text), *last] for text in texts]
    return truncate(tokens, context, len(last)) if context else (tokens, 0)


def predict(inputs: Texts, rows: np.ndarray | None = None,
            batch_tokens: int = BATCH_TOKENS, probabilities: Callable[[Tensor], Tensor] = ops.softmax) -> np.ndarray:
    """Probabilities (N, K) float32 of the classes; texts of about the same length are computed together.

    On the host several such batches are computed at a time, one on each core, but not of texts whose frozen blocks are
    computed once: their last bits depend on the batch that comes first.

    Args:
        inputs: the model and the texts.
        rows: which of them, N; None: all.
        batch_tokens: the most tokens that are computed together, padding included.
        probabilities: of scores; ``ops.sigmoid`` where a text may have any number of labels.

    Raises:
        NonFiniteError: "probabilities are not numbers (text 7): …".
    """
    rows = np.arange(len(inputs.lengths)) if rows is None else rows
    model, lengths = inputs.model, inputs.lengths[rows]
    if model.reading.filled:
        lengths = np.full_like(lengths, model.context)
    result, group = np.zeros((len(rows), model.score.weight.shape[1]), np.float32), current_group()
    batches = token_batches(lengths, batch_tokens)[group.rank::group.size]

    def answer(places):
        result[places] = probabilities(inputs.logits(rows[places])).numpy()

    model.eval()
    with no_grad():
        if backend_of(model.score.weight.data).on_host and inputs.start == 0:
            in_threads(answer, batches)
        else:
            for places in batches:
                answer(places)
    result = group.total(result)  # of each row, one process has more than zeros
    if not np.isfinite(result).all():
        first = int(np.flatnonzero(~np.isfinite(result).all(axis=1))[0])
        raise NonFiniteError(f"probabilities are not numbers (text {first + 1}): the model's weights overflow; "
                             "use another model, or train it again with a lower learning rate")
    return result
