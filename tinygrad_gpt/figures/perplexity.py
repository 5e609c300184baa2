"""How well a language model predicts a text: nats per token, perplexity, bits per byte."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tinygrad_gpt import ops
from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.engine import no_grad
from tinygrad_gpt.errors import DataError, NonFiniteError, UsageError
from tinygrad_gpt.models.gpt2 import GPT2
from tinygrad_gpt.parallel.group import current_group

__all__ = ["Perplexity", "measure_perplexity"]

BATCH_TOKENS = 4096  # computed together by default
LOGITS_BYTES = 64 << 20  # logits of a batch are computed in pieces of at most this (one row at least)


@dataclass(frozen=True)
class Perplexity:
    """What a model needs to know of a text that it predicts token by token.

    Args:
        loss: mean negative log-likelihood of the predicted tokens, in nats.
        tokens: in the text; the first is only context.
        predicted: tokens that were predicted: `tokens - 1`, fewer where windows were sampled.
        n_bytes: length of the text.
        windows: how many were computed.
        n_ctx, stride: tokens that a window reads, and tokens from one window to the next.
    """

    loss: float
    tokens: int
    predicted: int
    n_bytes: int
    windows: int
    n_ctx: int
    stride: int

    @property
    def perplexity(self) -> float:
        """e to the loss: the model is as unsure as in a choice among that number of tokens."""
        return math.exp(self.loss)

    @property
    def bits_per_byte(self) -> float:
        """Length of the text, coded with the model's probabilities: comparable between vocabularies."""
        return self.loss / math.log(2) * (self.tokens - 1) / self.n_bytes


def measure_perplexity(model: GPT2, tokens: np.ndarray, n_bytes: int, *, stride: int | None = None,
                       batch_size: int | None = None, max_windows: int | None = None,
                       report: Callable[[int, int], None] = lambda done, total: None) -> Perplexity:
    """Predict every token of a text but the first, each exactly once.

    Windows of n_ctx tokens begin every ``stride`` tokens. The first window predicts all its tokens, each later one
    the last ``stride``, so that each of these has at least n_ctx − stride tokens of context (and one more, its
    own predecessor). The last window is moved back to end with the text. A smaller stride gives more context, and takes
    more time.

    Args:
        model: it is put into evaluation mode.
        tokens: ids (N,), N ≥ 2.
        n_bytes: length of their text, for `bits_per_byte`.
        stride: 1 … n_ctx; n_ctx by default, windows side by side.
        batch_size: windows computed together; by default as many as have 4,096 tokens.
        max_windows: compute about this number of windows, evenly spaced: at least this many, fewer than twice as many.
        report: called with the windows done and their total.

    Raises:
        UsageError: `stride is 300 (perplexity): …`.
        DataError: `text of 1 token (perplexity): …`.
        NonFiniteError: `loss is nan (perplexity): …`.

    Source: https://huggingface.co/docs/transformers/perplexity (except for the place of the last window).
    """
    n_ctx = model.config.n_ctx
    stride = n_ctx if stride is None else stride
    if not 1 <= stride <= n_ctx:
        raise UsageError(f"stride is {stride} (perplexity): the model reads {n_ctx} tokens; give 1 to {n_ctx}")
    if len(tokens) < 2:
        raise DataError(f"text of {len(tokens)} token(s) (perplexity): there is nothing to predict; give a longer text")
    length = min(n_ctx, len(tokens) - 1)
    ends = np.minimum(np.arange(length, len(tokens) - 1 + stride, stride), len(tokens) - 1)  # the last target of each
    counts = np.diff(ends, prepend=0)  # targets of each window
    if max_windows is not None:
        every = max(1, len(ends) // max_windows)
        ends, counts = ends[::every], counts[::every]
    batches, done = [*_batches(counts, batch_size or max(1, BATCH_TOKENS // length))], 0
    group, sums = current_group(), np.zeros(len(batches))
    for i, rows in enumerate(batches):
        if i % group.size == group.rank:
            windows = tokens[ends[rows, None] + np.arange(-length, 1)]  # (B, T + 1)
            sums[i] = _summed_loss(model.eval(), windows, int(counts[rows[0]]))
        done += len(rows)
        report(done, len(ends))
    loss = sum(map(float, group.total(sums))) / int(counts.sum())
    if not loss < math.log(np.finfo(np.float64).max):
        raise NonFiniteError(f"loss is {loss:g} (perplexity): the model's weights overflow; use another model")
    return Perplexity(loss, len(tokens), int(counts.sum()), n_bytes, len(ends), length, stride)


def _batches(counts, batch_size):
    """Rows in order, in batches of windows that predict equally many tokens."""
    for group in np.split(np.arange(len(counts)), np.flatnonzero(np.diff(counts)) + 1):
        for start in range(0, len(group), batch_size):
            yield group[start:start + batch_size]


def _summed_loss(model, windows, n_targets) -> float:
    """Negative log-likelihood of the last targets of windows (B, T + 1), in nats, summed."""
    windows = backend_of(model.wte.weight.data).from_numpy(windows.astype(np.int64))
    rows = max(1, LOGITS_BYTES // (4 * model.config.vocab_size))
    total = 0.0
    with no_grad():
        x = model.ln_f(model.hidden(windows[:, :-1])[:, -n_targets:])  # (B, n, C): only what predicts is normalised
        x, targets = x.reshape(-1, x.shape[-1]), windows[:, -n_targets:].reshape(-1)  # (B·n, C), (B·n,)
        for start in range(0, len(targets), rows):
            piece = targets[start:start + rows]
            total += ops.cross_entropy(model.head(x[start:start + rows]), piece).item() * len(piece)
    return total
