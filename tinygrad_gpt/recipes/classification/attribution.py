"""Why a text got its label: which of its tokens moved the decision, from gradients.

The score of a label is its log-odds, z − log Σ exp(z of the others). Two ways share it among the tokens, both made from
the gradient of the score with respect to their embeddings: gradient × input, to first order, and integrated gradients,
whose parts add up to the difference between the score of the text and that of a neutral one.

Source: Sundararajan, Taly and Yan 2017, "Axiomatic attribution for deep networks"; Shrikumar et al. 2016, "Not just a
black box" (gradient × input).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tinygrad_gpt import ops
from tinygrad_gpt.backend import backend_of, default_backend
from tinygrad_gpt.engine import Tensor, no_grad
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.models.classifier import TextClassifier
from tinygrad_gpt.recipes.classification.classify import encode_texts
from tinygrad_gpt.runs.saved_model import SavedModel
from tinygrad_gpt.text import Tokenizer

__all__ = ["Attribution", "Part", "attribute", "left_out_scores"]

TOLERANCE = 1e-3  # of the sum of the parts
POINTS = (16, 32, 64, 128, 256)  # of the integral, until the parts add up
ROWS = 64  # points that are computed together


@dataclass(frozen=True)
class Part:
    """A piece of the text: a token, or several that make up one character.

    Args:
        text: the piece.
        gradient_input: its part by gradient × input; positive: it speaks for the label.
        integrated: its part by integrated gradients.
    """

    text: str
    gradient_input: float
    integrated: float


@dataclass(frozen=True)
class Attribution:
    """Which parts of a text moved a decision.

    Args:
        label: whose score is explained.
        score: its log-odds for the text.
        neutral: its log-odds for as many neutral tokens.
        parts: of the text, in order; what the model did not read is not among them.
    """

    label: str
    score: float
    neutral: float
    parts: tuple[Part, ...]

    @property
    def gap(self) -> float:
        """By how much the integrated parts miss the difference of the two scores."""
        return abs(sum(part.integrated for part in self.parts) - (self.score - self.neutral))

    @property
    def words(self) -> tuple[Part, ...]:
        """The parts of each word added up; a word has the white space in front of it."""
        words: list[Part] = []
        for part in self.parts:
            if words and (not part.text[:1].isspace() or words[-1].text.isspace()):
                last = words.pop()
                part = Part(last.text + part.text, last.gradient_input + part.gradient_input,
                            last.integrated + part.integrated)
            words.append(part)
        return tuple(words)


def attribute(saved: SavedModel, text: str, label: str) -> Attribution:
    """Share the score of a label among the tokens of a text.

    Args:
        label: one of the model's.

    Raises:
        UsageError: as `SavedModel.classifier`; a model with several labels for a text.
    """
    if saved.thresholds:
        raise UsageError("with this model a text may have several labels, and reasons are for one; leave them out")
    model, target = saved.classifier, saved.labels.index(label)
    ids, start, end = _read(saved, text)
    embedded = model.transformer.wte.weight.numpy()[ids].astype(np.float32)  # (T, C)
    neutral = _neutral(model, embedded, start, end)
    score, slope = _score_and_slope(model, embedded[None], ids, target)
    first_order = (slope[0] * (embedded - neutral)).sum(axis=1)
    base = _score(model, neutral[None], ids, target)
    for points in POINTS:
        integrated = _integrated(model, embedded, neutral, ids, target, points)
        if abs(integrated.sum() - (score[0] - base)) <= TOLERANCE / 2:
            break
    pieces = _pieces(saved.tokenizer, ids[start:end].tolist())
    ends = np.cumsum([start, *(count for _, count in pieces)])
    parts = tuple(Part(piece, float(first_order[a:b].sum()), float(integrated[a:b].sum()))
                  for (piece, _), a, b in zip(pieces, ends[:-1], ends[1:], strict=True))
    return Attribution(label, float(score[0]), float(base), parts)


def left_out_scores(saved: SavedModel, text: str, label: str) -> np.ndarray:
    """By how much the score of a label falls when one token is left out, for each token of the text, (T)."""
    model, target = saved.classifier, saved.labels.index(label)
    ids, start, end = _read(saved, text)
    table = model.transformer.wte.weight.numpy()
    whole = _score(model, table[ids][None].astype(np.float32), ids, target)
    shorter = np.array([np.delete(ids, i) for i in range(start, end)])
    if shorter.shape[1] == 0:  # a single token: nothing is left to read
        return np.zeros(len(shorter))
    return whole - _score_rows(model, table[shorter].astype(np.float32), shorter[0], target)


def _read(saved: SavedModel, text: str) -> tuple[np.ndarray, int, int]:
    """The ids that are read of a text, and where the text's own begin and end among them."""
    model = saved.classifier
    (ids,), _ = encode_texts(saved.tokenizer, [text], model.context, model.reading.start)
    start = int(model.reading.start)
    return np.array(ids), start, len(ids) - (model.specials - start)


def _neutral(model: TextClassifier, embedded: np.ndarray, start: int, end: int) -> np.ndarray:
    """The embeddings of a neutral text: the mean of all tokens at each position, between the same special tokens."""
    neutral = np.broadcast_to(model.transformer.wte.weight.numpy().mean(axis=0, dtype=np.float32), embedded.shape)
    return np.concatenate([embedded[:start], neutral[start:end], embedded[end:]])


def _integrated(model, embedded, neutral, ids, target, points) -> np.ndarray:
    """Integrated gradients of each token, (T), by Gauss-Legendre quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(points)
    way = embedded - neutral
    total = np.zeros(embedded.shape, np.float64)
    for at in range(0, points, ROWS):
        alphas = ((nodes[at:at + ROWS] + 1) / 2).astype(np.float32)[:, None, None]
        _, slope = _score_and_slope(model, neutral + alphas * way, ids, target)
        total += (slope * (weights[at:at + ROWS, None, None] / 2)).sum(axis=0)
    return (total * way).sum(axis=1)


def _score_and_slope(model, embedded: np.ndarray, ids, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (N, T, C) -> the log-odds of a class (N), and their gradients (N, T, C)."""
    x = Tensor(default_backend().from_numpy(np.ascontiguousarray(embedded)), requires_grad=True)
    scores = _log_odds(model, x, ids, target)
    scores.sum().backward()
    return scores.numpy(), x.grad.numpy()  # type: ignore[union-attr]


def _score(model, embedded, ids, target) -> float:
    return float(_score_rows(model, embedded, ids, target)[0])


def _score_rows(model, embedded, ids, target) -> np.ndarray:
    with no_grad():
        return np.concatenate([_log_odds(model, Tensor(default_backend().from_numpy(embedded[i:i + ROWS])), ids,
                                         target).numpy() for i in range(0, len(embedded), ROWS)])


def _log_odds(model: TextClassifier, embedded: Tensor, ids: np.ndarray, target: int) -> Tensor:
    """Embeddings (N, T, C) of texts as long as ``ids`` (T) -> z − log Σ exp(z of the others), (N)."""
    count, length, _ = embedded.shape
    transformer = model.transformer
    if model.reading.filled and length < model.context:
        filler = transformer.wte.weight.data[model.reading.pad_id]
        shape = (count, model.context - length, len(filler))
        fillers = backend_of(filler).xp.broadcast_to(filler, shape).astype(embedded.dtype)
        embedded = ops.concat(embedded, fillers, axis=1)
    lengths = default_backend().from_numpy(np.full(count, length))
    z = model.scores(model.blocks(model.embed_words(embedded), lengths), lengths)  # (N, K)
    others = np.delete(np.arange(z.shape[1]), target)
    return z[:, target] - z[:, others].logsumexp(axis=1)


def _pieces(tokenizer: Tokenizer, ids: Sequence[int]) -> list[tuple[str, int]]:
    """The text of the ids in pieces, and how many ids each takes: a character is never cut.

    A piece is what its id adds to the one before, so that a WordPiece ``##ing`` has no space, and other words have one.
    """
    before: list[list[int]] = [[], *([i] for i in ids[:-1])]
    return list(_whole_characters([tokenizer.decode_bytes([*last, i])[len(tokenizer.decode_bytes(last)):]
                                   for last, i in zip(before, ids, strict=True)]))


def _whole_characters(tokens: Sequence[bytes]) -> Iterator[tuple[str, int]]:
    waiting, count = b"", 0
    for token in tokens:
        waiting, count = waiting + token, count + 1
        try:
            yield waiting.decode(), count
        except UnicodeDecodeError:
            continue
        waiting, count = b"", 0
    if count:
        yield waiting.decode(errors="replace"), count
