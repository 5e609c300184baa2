"""An encoder that says which tokens are hidden in a text: masked language modelling."""

from pathlib import Path
from typing import Self

import numpy as np

from tinygrad_gpt import ops
from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.checkpoints.gpt2_files import weights_file
from tinygrad_gpt.checkpoints.hdf5_guard import explained
from tinygrad_gpt.checkpoints.masked_head import read_masked_head
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.models.bert import ACTIVATIONS, Bert, BertConfig
from tinygrad_gpt.nn import Conv1D, LayerNorm, Module, Parameter
from tinygrad_gpt.nn.precision_casts import to_compute, to_float32

__all__ = ["MaskedHead", "MaskedLM"]


class MaskedLM(Module):
    """A `Bert` with a head that scores every token of the vocabulary at each position.

    Args:
        transformer: the encoder to build on; it keeps its weights. Its pooler, if it has one, is not used.
        seed: of the head's initial values; None as in `Bert`.

    Source: Devlin et al. 2019, section 3.1; `BertForMaskedLM` of transformers.
    """

    def __init__(self, transformer: Bert, seed: int | None = 0):
        self.transformer = transformer
        self.masked_head = MaskedHead(transformer.config, seed)

    @classmethod
    def from_pretrained(cls, path: str | Path) -> Self:
        """Read a published encoder of the BERT, DistilBERT or RoBERTa family with its masked-language head.

        Args:
            path: as in `checkpoints.bert_files.read_bert`.

        Raises:
            CheckpointError: as in `read_bert`; "cannot load (minilm/model.safetensors): it has no masked-language
                head; …".
        """
        model = cls(Bert.from_pretrained(path), seed=None)
        with explained(weights_file(path)):
            model.masked_head.adopt_state_dict(read_masked_head(path))
        return model.eval()

    def forward(self, ids, visible=None) -> Tensor:
        """ids (B, T) and visible as in `Bert` -> the scores of each token at each position, (B, T, vocab_size)."""
        return self.scores(self.transformer(ids, visible))

    def scores(self, x: Tensor) -> Tensor:
        """Hidden states (..., C) -> (..., vocab_size); the matrix is that of the token embedding."""
        x, words = self.masked_head(x), self.transformer.wte.weight
        return to_float32(ops.linear(to_compute(x), to_compute(words).T, to_compute(self.masked_head.bias)))

    def loss(self, ids, targets: np.ndarray, visible=None) -> Tensor:
        """Mean negative log-likelihood () of the hidden tokens, in nats; only their positions are scored.

        Args:
            ids: (B, T) integers, some of them hidden.
            targets: (B, T) integers on the host: what is hidden, −100 elsewhere.
            visible: (B, T) bool, which tokens are real; None: all.
        """
        x = self.transformer(ids, visible)  # (B, T, C)
        on_device = backend_of(x.data).from_numpy
        rows, places = np.nonzero(targets >= 0)
        hidden = x[on_device(rows), on_device(places)]  # (n, C)
        return ops.cross_entropy(self.scores(hidden), on_device(targets[rows, places]))


class MaskedHead(Module):
    """``dense`` (C, C), the activation and a norm; ``bias`` (vocab_size) is added to the scores."""

    def __init__(self, config: BertConfig, seed: int | None = 0):
        generator = None if seed is None else np.random.default_rng((seed, config.vocab_size))
        self.dense = Conv1D(config.n_embd, config.n_embd, generator)
        self.ln = LayerNorm(config.n_embd, config.layer_norm_epsilon)
        self.bias = Parameter(np.zeros(config.vocab_size, np.float32))
        # RoBERTa's head has the exact GELU, whatever its blocks have.
        self.activation = "gelu" if config.family == "roberta" else config.activation

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)"""
        return self.ln(to_float32(ACTIVATIONS[self.activation](self.dense(x))))
