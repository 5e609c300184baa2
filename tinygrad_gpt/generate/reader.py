"""A model that reads several texts at once, each token once, within its context."""

import itertools
from collections.abc import Sequence

import numpy as np

from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.engine import no_grad
from tinygrad_gpt.models.gpt2 import GPT2

__all__ = ["Reader"]

WORTH_A_PASS = 48  # tokens, which take about as long as a pass over the weights for a few


class Reader:
    """Texts that a model reads token by token, and its logits for the next token of each.

    The window: a text of up to n_ctx tokens is read whole, of a longer one the last n_ctx tokens. When a token more
    does not fit, the text is cut to its last n_ctx // 2 tokens (at least 1), that one included, which are read again
    from position 0. A text's logits are therefore a function of its own tokens, and one token in n_ctx / 2 costs as
    much as a prompt of that length.

    What all texts begin with is computed once, where that saves more than a pass over the weights costs.

    Args:
        model: a GPT2; it is put into evaluation mode.
        texts: ids of each text, none empty.
        n_new: how many tokens will be added to each at most.

    Attributes:
        logits: (B, vocab_size) on the host, what may follow each text.
    """

    def __init__(self, model: GPT2, texts: Sequence[Sequence[int]], n_new: int):
        self.model = model.eval()
        self.windows = [list(text[-model.config.n_ctx:]) for text in texts]
        capacity, shared = max(map(len, self.windows)) + n_new, _shared(self.windows)
        self.cache = model.new_cache(1 if shared else len(texts), capacity)
        if shared:
            with no_grad():
                model.hidden(self._on_device(np.array([self.windows[0][:shared]])), self.cache)
            self.cache = self.cache.select(np.zeros(len(texts), np.int64))
        self.logits = self._read([window[shared:] for window in self.windows], self.cache)

    def repeat(self, times: int) -> None:
        """Go on with ``n`` copies of each text, side by side."""
        self.keep(np.repeat(np.arange(len(self.windows)), times))

    def keep(self, rows: np.ndarray) -> None:
        """Go on with these texts only."""
        if not np.array_equal(rows, np.arange(len(self.windows))):
            self.windows = [list(self.windows[i]) for i in rows]
            self.cache, self.logits = self.cache.select(rows), self.logits[rows]

    def append(self, ids: Sequence[int]) -> None:
        """Read one token more of each text."""
        n_ctx = self.model.config.n_ctx
        full = [row for row, window in enumerate(self.windows) if len(window) == n_ctx]
        for window, i in zip(self.windows, ids, strict=True):
            window.append(i)
        if len(full) < len(ids):
            self.logits = self._read([[] if row in full else [i] for row, i in enumerate(ids)], self.cache)
        for row in full:
            self.windows[row] = self.windows[row][-max(n_ctx // 2, 1):]
            cache = self.cache.row(row)
            cache.lengths[:] = 0
            self.logits[row] = self._read([self.windows[row]], cache)[0]

    def _read(self, chunks, cache):
        """Logits (B, V) behind chunks of new ids, which may be of different length."""
        lengths = np.array([len(chunk) for chunk in chunks])
        ids = np.zeros((len(chunks), lengths.max()), np.int64)  # (B, n), padded on the right
        for row, chunk in zip(ids, chunks, strict=True):
            row[:len(chunk)] = chunk
        with no_grad():
            return self.model.next_logits(self._on_device(ids), cache, lengths).numpy()

    def _on_device(self, ids):
        return backend_of(self.model.wte.weight.data).from_numpy(ids)


def _shared(texts):
    """How many tokens at the beginning of all texts are to be computed once; each text keeps one of its own."""
    first, last = min(texts), max(texts)  # in the order of their tokens: what these two share, all share
    common = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))
    common = min(common, *(len(text) - 1 for text in texts))
    return common if (len(texts) - 1) * common >= WORTH_A_PASS else 0
