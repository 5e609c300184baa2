"""An encoder with a head that classifies."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from tinygrad_gpt.checkpoints.bert_files import read_bert_head, write_bert
from tinygrad_gpt.checkpoints.class_head import ClassHead
from tinygrad_gpt.checkpoints.gpt2_files import weights_file
from tinygrad_gpt.checkpoints.hdf5_guard import explained
from tinygrad_gpt.engine.operators import raw
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import CheckpointError, UsageError
from tinygrad_gpt.models.bert import Bert
from tinygrad_gpt.models.classifier import Reading, TextClassifier, take_row
from tinygrad_gpt.nn import Conv1D, Dropout
from tinygrad_gpt.nn.precision_casts import to_float32

__all__ = ["BertClassifier"]


class BertClassifier(TextClassifier):
    """A `Bert` whose hidden states are read at one position or averaged, and scored.

    What is read goes through the encoder's pooler, where it has one. Of the last block only the position that is read
    is computed.

    Args:
        transformer: the encoder to build on; it keeps its weights.
        n_classes: number of scores.
        seed: of the head's initial values; None as in `Bert`.
        reading: how texts are read, without a causal mask; None: the mean of all tokens.
    """

    def __init__(self, transformer: Bert, n_classes: int, seed: int | None = 0, reading: Reading | None = None):
        self.transformer = transformer
        self.reading = reading or Reading("mean", causal=False)
        self.specials = 2 * self.reading.start
        if self.reading.causal:
            raise UsageError("an encoder's tokens see the whole text; give a reading without the causal mask")
        if not self.specials < self.context <= transformer.config.n_ctx:
            raise UsageError(f"context is {self.context}, but the model reads {transformer.config.n_ctx} tokens, "
                             f"{self.specials} of which are not the text's")
        generator = None if seed is None else np.random.default_rng((seed, n_classes))
        self.score = Conv1D(transformer.config.n_embd * self.reading.copies, n_classes, generator)
        self.head_drop = Dropout(0.0)

    @classmethod
    def from_pretrained(cls, path: str | Path) -> Self:
        """Read a published classifier, such as transformers' BertForSequenceClassification.

        Args:
            path: as in `checkpoints.bert_files.read_bert`.

        Raises:
            CheckpointError: as in `read_bert`; or "it does not classify texts; …".
        """
        head = read_bert_head(path)
        if head is None:
            raise CheckpointError(f"cannot load ({path}): it does not classify texts; give a classifier")
        with explained(weights_file(path)):
            return cls.from_head(Bert.from_pretrained(path), head)

    @classmethod
    def from_head(cls, base: Bert, head: ClassHead) -> Self:
        """Put a published head on its encoder."""
        assert head.bias is not None
        reading = Reading("first", causal=False, pad_id=head.pad_id or 0)
        model = cls(base, len(head.labels), seed=None, reading=reading)
        model.score.adopt_state_dict({"weight": np.ascontiguousarray(head.weight.T), "bias": head.bias})
        return model.eval()

    def save_pretrained(self, folder: str | Path, labels: Sequence[str]) -> None:
        """Write config.json and model.safetensors, which transformers' BertForSequenceClassification reads, or that of
        the encoder's family.

        Args:
            folder: made where it is absent.
            labels: names of the classes.

        Raises:
            UsageError: "cannot export a classifier that …": it reads texts in a way that these files cannot say.
            ResourceError, TinygradError: as in `files.write_atomic`.
        """
        reading, config = self.reading, self.transformer.config
        if reading.read != "first" or reading.filled or not reading.start or config.pooler == "none":
            raise UsageError("cannot export an encoder's classifier that reads other than the pooled first token of "
                             "texts as they are: these files cannot say so; finetune with --read first")
        arrays = self.arrays()
        tensors = {name.removeprefix("transformer."): array for name, array in arrays.items()
                   if name.startswith("transformer.")}
        tensors["wpe.weight"] = tensors["wpe.weight"][:self.context]
        head = ClassHead(arrays["score.weight"].T, tuple(labels), reading.pad_id, arrays["score.bias"])
        write_bert(folder, {**config.to_dict(), "n_ctx": self.context}, tensors, reading.pad_id, head)

    def embed(self, ids) -> Tensor:
        return self.transformer.embed(ids)

    def embed_words(self, x: Tensor) -> Tensor:
        return self.transformer.embed_words(x)

    def blocks(self, x: Tensor, lengths, start: int = 0, stop: int | None = None) -> Tensor:
        n_layer, reading, lengths = len(self.transformer.h), self.reading, raw(lengths)
        stop = n_layer if stop is None else stop
        visible = reading.counted(lengths, x.shape[1])
        narrow = stop == n_layer > start and not reading.whole
        for block in self.transformer.h[start:stop - narrow]:
            x = block(x, visible)
        if not narrow:
            return x
        row = take_row(x, reading.position(lengths, x.shape[1]))[:, None]  # (B, 1, C)
        return self.transformer.h[-1].over(row, x, visible)

    def scores(self, x: Tensor, lengths) -> Tensor:
        read = self.pooled(x, lengths) if self.reading.whole else x[:, 0]
        return to_float32(self.score(self.head_drop(self.transformer.drop(self.transformer.pool(read)))))
