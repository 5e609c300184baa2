"""GPT-2 with a head that classifies."""

import numpy as np

from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.models.gpt2 import GPT2
from tinygrad_gpt.nn import Linear, Module
from tinygrad_gpt.tensor import Tensor, raw

__all__ = ["GPT2Classifier", "at_last"]


class GPT2Classifier(Module):
    """A GPT-2 whose language head is replaced by one that scores classes at the last real token.

    The attention is causal, so tokens behind the last real one cannot reach it: batches padded on the
    right need no mask.

    Args:
        transformer: the model to build on; it keeps its weights.
        n_classes: number of scores.
        seed: of the head's initial values; None as in `GPT2`.
    """

    def __init__(self, transformer: GPT2, n_classes: int, seed: int | None = 0):
        self.transformer = transformer
        generator = None if seed is None else np.random.default_rng((seed, n_classes))
        self.score = Linear(transformer.config.n_embd, n_classes, generator)

    def forward(self, ids, lengths) -> Tensor:
        """ids (B, T) padded on the right, lengths (B) ≥ 1 -> logits (B, n_classes)."""
        last = at_last(self.transformer.hidden(ids), lengths)  # (B, C): only what is read is normalised
        return self.score(self.transformer.ln_f(last))


def at_last(x: Tensor, lengths) -> Tensor:
    """x (B, T, ...), lengths (B) -> what stands at the last real token of each row, (B, ...)."""
    xp = backend_of(x.data).xp
    return x[xp.arange(x.shape[0]), raw(lengths) - 1]
