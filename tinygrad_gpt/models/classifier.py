"""Transformers with a head that classifies: what they share, and GPT-2."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from tinygrad_gpt import ops
from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.checkpoints.class_head import ClassHead, without_bias
from tinygrad_gpt.checkpoints.gpt2_files import read_class_head, weights_file, write_gpt2
from tinygrad_gpt.checkpoints.hdf5_guard import explained
from tinygrad_gpt.engine.operators import raw
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import CheckpointError, ShapeError, UsageError
from tinygrad_gpt.models.gpt2 import GPT2
from tinygrad_gpt.nn import Block, Conv1D, Dropout, Module
from tinygrad_gpt.nn.precision_casts import to_compute, to_float32
from tinygrad_gpt.nn.recompute import recomputed
from tinygrad_gpt.nn.stack import through

__all__ = ["READS", "GPT2Classifier", "Reading", "TextClassifier", "block_over", "take_row"]

READS = ("last-real", "last", "first", "mean", "concat")

LOWEST = 1e4  # what a position that is no text has, negative, where the maximum is read


@dataclass(frozen=True)
class Reading:
    """How a classifier reads a text; it is saved with the weights.

    Args:
        read: where the scores come from: the text's "last-real" token, the "last" position (a filler, if the text is
            filled up), the "first" token, or the "mean" of all positions; "concat": the last real token, the mean and
            the maximum of all positions, side by side (Howard and Ruder 2018, section 3.3).
        causal: whether a token sees only itself and the tokens before it.
        context: tokens that are read, the start token included; None: as many as the model takes.
        filled: whether shorter texts are filled up to the context with ``pad_id``, as tokens like any other; if not,
            they are padded to the longest of a batch, and nothing sees the padding.
        pad_id: the token to fill up with.
        start: whether a text begins with an end-of-text token, as every document did in pretraining.
    """

    read: str = "last-real"
    causal: bool = True
    context: int | None = None
    filled: bool = False
    pad_id: int = 0
    start: bool = True

    def __post_init__(self):
        if self.read not in READS:
            raise UsageError(f"read is {self.read!r:.60}; choose one of {', '.join(READS)}")
        if (self.context is not None and self.context < 1 + self.start) or self.pad_id < 0:
            raise UsageError(f"context is {self.context} and pad_id {self.pad_id}; give a context with room for a "
                             "token, and an id from 0 on")
        if self.read == "first" and self.causal and self.start:
            raise UsageError("read is 'first': under the causal mask that is the start token, the same in all texts; "
                             "leave it out, or the mask")

    @property
    def whole(self) -> bool:
        """Whether all positions are read."""
        return self.read in ("mean", "concat")

    @property
    def copies(self) -> int:
        """How many hidden states go into the head."""
        return 3 if self.read == "concat" else 1

    def trimmed(self, ids: Sequence[int]) -> list[int]:
        """A text without the padding tokens at its end, of which the first is kept where there is nothing else."""
        end = len(ids)
        while end > 1 and ids[end - 1] == self.pad_id:
            end -= 1
        return list(ids[:end])

    def position(self, lengths, width: int):
        """Index (B) of the token that is read, alone or beside others, in a batch of ``width`` tokens."""
        if self.read == "first":
            return lengths * 0
        return lengths * 0 + (width - 1) if self.read == "last" and self.filled else lengths - 1

    def counted(self, lengths, width: int):
        """Which positions (B, width) are tokens of the text, bool; None: all."""
        return None if self.filled else backend_of(lengths).xp.arange(width) < lengths[:, None]

    def visible(self, lengths, width: int):
        """Which positions (B, width) the token that is read can see, bool; None: all."""
        if not self.causal:
            return self.counted(lengths, width)
        return backend_of(lengths).xp.arange(width) <= self.position(lengths, width)[:, None]


class TextClassifier(Module):
    """A transformer with a head that scores classes; `forward` is `embed`, `blocks` and `scores`.

    Attributes:
        transformer: the model below the head.
        reading: how texts are read.
        score: the head, (C, n_classes); (3 C, n_classes) where three hidden states are read.
        head_drop: dropout of what goes into it.
        specials: how many tokens are put around each text.
    """

    transformer: Any
    reading: Reading
    score: Conv1D
    head_drop: Dropout
    specials: int

    @property
    def context(self) -> int:
        """Tokens that are read, those around the text included."""
        return self.reading.context or self.transformer.config.n_ctx

    @property
    def longest_text(self) -> int:
        """The longest text that is read to its end, in tokens."""
        return self.context - self.specials

    def forward(self, ids, lengths) -> Tensor:
        """ids (B, T) padded on the right, lengths (B) ≥ 1 -> logits (B, n_classes)."""
        return self.scores(self.blocks(self.embed(ids), lengths), lengths)

    def embed(self, ids) -> Tensor:
        """ids (B, T) -> what goes into the first block, (B, T, C)."""
        raise NotImplementedError

    def embed_words(self, x: Tensor) -> Tensor:
        """As `embed`, from the embeddings of the tokens, (B, T, C)."""
        raise NotImplementedError

    def blocks(self, x: Tensor, lengths, start: int = 0, stop: int | None = None) -> Tensor:
        """Blocks ``start`` to ``stop`` − 1: (B, T, C) -> (B, T, C); after the last block only what is read, (B, 1, C).
        """
        raise NotImplementedError

    def scores(self, x: Tensor, lengths) -> Tensor:
        """What `blocks` gives -> logits (B, n_classes)."""
        raise NotImplementedError

    def pooled(self, x: Tensor, lengths) -> Tensor:
        """x (B, T, C) at every position -> what is read of it, (B, C), or (B, 3 C)."""
        lengths = raw(lengths)
        if not self.reading.whole:
            return take_row(x, self.reading.position(lengths, x.shape[1]))
        counted = self.reading.counted(lengths, x.shape[1])
        mean = self._mean(x, lengths, counted)
        if self.reading.read == "mean":
            return mean
        last = take_row(x, self.reading.position(lengths, x.shape[1]))
        highest = (x if counted is None else ops.where(counted[..., None], x, -LOWEST)).max(axis=1)
        return ops.concat(last, mean, highest, axis=-1)

    @staticmethod
    def _mean(x: Tensor, lengths, counted) -> Tensor:
        if counted is None:
            return x.mean(axis=1)
        share = counted.astype(x.dtype) / lengths[:, None].astype(x.dtype)  # (B, T)
        return ops.matmul(share[:, None], x)[:, 0]


class GPT2Classifier(TextClassifier):
    """A GPT-2 whose language head is replaced by one that scores classes.

    Of the last block only the position that is read is computed. `forward` is `embed`, `blocks` and `scores`; to
    train only the last blocks, compute their input once and start there.

    Args:
        transformer: the model to build on; it keeps its weights.
        n_classes: number of scores.
        seed: of the head's initial values; None as in `GPT2`.
        reading: how texts are read; None: at the last real token, as GPT-2 is.
    """

    def __init__(self, transformer: GPT2, n_classes: int, seed: int | None = 0, reading: Reading | None = None):
        self.transformer = transformer
        self.reading = reading or Reading()
        self.specials = int(self.reading.start)
        if self.context > transformer.config.n_ctx:
            raise UsageError(f"context is {self.context}, but the model reads {transformer.config.n_ctx} tokens")
        generator = None if seed is None else np.random.default_rng((seed, n_classes))
        self.score = Conv1D(transformer.config.n_embd * self.reading.copies, n_classes, generator)
        self.head_drop = Dropout(0.0)

    @classmethod
    def from_pretrained(cls, path: str | Path, pad_id: int = 0, start: bool = False) -> Self:
        """Read a published classifier, transformers' GPT2ForSequenceClassification.

        Args:
            path: as in `checkpoints.gpt2_files.read_gpt2`.
            pad_id: the token that fills up texts, where config.json names none.
            start: whether its vocabulary puts a token before each text.

        Raises:
            CheckpointError: as in `read_gpt2`; or "it has no score.weight; …".
        """
        head = read_class_head(path)
        if head is None:
            raise CheckpointError(f"cannot load ({path}): it has no score.weight; give a classifier")
        with explained(weights_file(path)):
            return cls.from_head(GPT2.from_pretrained(path), head, pad_id, start)

    @classmethod
    def from_head(cls, base: GPT2, head: ClassHead, pad_id: int, start: bool) -> Self:
        """Put a published head on its GPT-2; the arguments are those of `from_pretrained`."""
        reading = Reading(pad_id=pad_id if head.pad_id is None else head.pad_id, start=start)
        if head.filled is not None:
            reading = replace(reading, read="last", filled=True, context=min(head.filled, base.config.n_ctx))
        model = cls(base, len(head.labels), seed=None, reading=reading)
        bias = np.zeros(len(head.labels), np.float32) if head.bias is None else head.bias
        model.score.adopt_state_dict({"weight": np.ascontiguousarray(head.weight.T), "bias": bias})
        return model.eval()

    def save_pretrained(self, folder: str | Path, labels: Sequence[str], eot_id: int | None = None) -> None:
        """Write config.json and model.safetensors, which transformers' GPT2ForSequenceClassification reads.

        Args:
            folder: made where it is absent.
            labels: names of the classes.
            eot_id: the id of the end of text; the last one by default.

        Raises:
            UsageError: "cannot export a classifier that …": it reads texts in a way that these files cannot say.
            ResourceError, TinygradError: as in `files.write_atomic`.
        """
        reading = self.reading
        if reading.filled or not reading.causal or reading.read not in ("last-real", "last"):
            raise UsageError("cannot export a classifier that fills up its texts, or reads other than the last token "
                             "under the causal mask: these files cannot say so; finetune with --read last-real")
        arrays = self.arrays()
        tensors = {name.removeprefix("transformer."): array for name, array in arrays.items()
                   if name.startswith("transformer.")}
        weight = arrays["score.weight"].T
        tensors["ln_f.bias"] = without_bias(weight, arrays["score.bias"], tensors["ln_f.bias"])
        tensors["wpe.weight"] = tensors["wpe.weight"][:self.context]
        config = {**self.transformer.config.to_dict(), "n_ctx": self.context}
        write_gpt2(folder, config, tensors, eot_id, ClassHead(weight, tuple(labels), reading.pad_id))

    def embed(self, ids) -> Tensor:
        """ids (B, T) -> what goes into the first block, (B, T, C).

        Raises:
            ShapeError: "GPT2Classifier: 300 tokens, but the model's context is 256…".
        """
        length, n_ctx = ids.shape[-1], self.transformer.config.n_ctx
        if len(ids.shape) != 2 or length > n_ctx:
            raise ShapeError(f"GPT2Classifier: {length} tokens (ids are {ids.shape}), but the model's context is "
                             f"{n_ctx}; give ids of shape (B, T), truncated to that")
        return self.embed_words(self.transformer.wte(ids))

    def embed_words(self, x: Tensor) -> Tensor:
        return self.transformer.drop(x + self.transformer.wpe.weight[:x.shape[1]])

    def blocks(self, x: Tensor, lengths, start: int = 0, stop: int | None = None) -> Tensor:
        """Blocks ``start`` to ``stop`` − 1: (B, T, C) -> (B, T, C); after the last block only what is read, (B, 1, C).
        """
        n_layer = len(self.transformer.h)
        stop = n_layer if stop is None else stop
        if stop < n_layer or start == stop or self.reading.whole:
            return self.whole_blocks(x, lengths, start, stop)
        x = self.whole_blocks(x, lengths, start, n_layer - 1)
        lengths, width = raw(lengths), x.shape[1]
        row = take_row(x, self.reading.position(lengths, width))[:, None]  # (B, 1, C)
        block, visible = self.transformer.h[-1], self.reading.visible(lengths, width)
        return (block_over if block.attn.attn_dropout.active else block_at)(block, row, x, visible)

    def whole_blocks(self, x: Tensor, lengths, start: int = 0, stop: int | None = None) -> Tensor:
        """The same at every position: (B, T, C) -> (B, T, C)."""
        if self.reading.causal and not self.transformer.recompute:
            return through(self.transformer.h[start:stop], x)
        for block in self.transformer.h[start:stop]:
            x = recomputed(block, x) if self.reading.causal else block_over(
                block, x, x, self.reading.counted(raw(lengths), x.shape[1]))
        return x

    def scores(self, x: Tensor, lengths) -> Tensor:
        """What `blocks` gives -> logits (B, n_classes)."""
        x = self.transformer.ln_f(x)
        read = self.pooled(x, lengths) if self.reading.whole else x[:, 0]
        return to_float32(self.score(self.head_drop(read)))


def block_over(block: Block, rows: Tensor, x: Tensor, visible) -> Tensor:
    """A block at some positions only: (B, n, C) -> (B, n, C); the others give keys and values and nothing else.

    Args:
        block: its attention is not causal here; ``visible`` decides.
        rows: (B, n, C), what goes into the block at those positions.
        x: (B, T, C), what goes into it at all positions.
        visible: (B, T) bool, which of these the rows may see; None: all.
    """
    attn, width = block.attn, x.shape[-1]
    q = _heads(attn.c_attn.columns(block.ln_1(rows), 0, width), attn.n_head)  # (B, H, n, D)
    keys_values = attn.c_attn.columns(block.ln_1(x), width, 3 * width)  # (B, T, 2C)
    k, v = (_heads(part, attn.n_head) for part in (keys_values[..., :width], keys_values[..., width:]))
    keep = attn.attn_dropout.mask(x, (*q.shape[:3], k.shape[2]))
    y = ops.attention(q, k, v, visible, keep, causal=False, p=attn.attn_dropout.p)
    y = ops.reshape(y.transpose(1, 2), shape=rows.shape)  # heads side by side again
    return _residual(block, rows, y)


def block_at(block: Block, row: Tensor, x: Tensor, visible) -> Tensor:
    """`block_over` at one position, (B, 1, C), and without attention dropout: there no keys and values are made.

    The product of a query with a key is q · (W_kᵀ x + b_k) = (W_k q) · x + q · b_k, and the last term, the same for
    all keys, changes no softmax. The weights a add up to 1, so Σ a (W_vᵀ x + b_v) = W_vᵀ (Σ a x) + b_v. The heads
    can attend to x itself.
    """
    attn, width = block.attn, x.shape[-1]
    w_k, w_v = (_by_head(to_compute(attn.c_attn.weight_columns(i * width, (i + 1) * width)), attn.n_head)
                for i in (1, 2))  # (H, C, D) each
    q = _by_head(attn.c_attn.columns(block.ln_1(row), 0, width)[:, 0], attn.n_head)  # (H, B, D)
    q = ops.matmul(q, w_k.mT)  # (H, B, C)
    q = q.transpose(0, 1)[:, None] * math.sqrt(attn.n_head)  # (B, 1, H, C): √(C/D), as C is its D
    seen = to_compute(block.ln_1(x))[:, None]  # (B, 1, T, C)
    seen = ops.attention(q, seen, seen, visible, causal=False)[:, 0]  # (B, H, C)
    y = ops.matmul(seen.transpose(0, 1), w_v)  # (H, B, D)
    y = ops.reshape(y.transpose(0, 1), shape=row.shape)  # heads side by side again
    if attn.c_attn.bias is not None:
        y = y + to_compute(attn.c_attn.bias[2 * width:])
    return _residual(block, row, y)


def _residual(block: Block, rows: Tensor, y: Tensor) -> Tensor:
    """The rest of a block: what goes into it and what its heads give, (B, n, C) each -> (B, n, C)."""
    rows = rows + to_float32(block.resid_dropout(block.attn.c_proj(y)))
    return rows + to_float32(block.resid_dropout(block.mlp(block.ln_2(rows))))


def _heads(x: Tensor, n_head: int) -> Tensor:
    """(B, T, C) -> (B, H, T, D)"""
    batch, length, width = x.shape
    return x.reshape(batch, length, n_head, width // n_head).transpose(1, 2)


def _by_head(x: Tensor, n_head: int) -> Tensor:
    """(n, C) -> (H, n, D)"""
    return _heads(x[None], n_head)[0]


def take_row(x: Tensor, position) -> Tensor:
    """One position of each text: x (B, T, C), position (B) -> (B, C)."""
    return x[backend_of(x.data).xp.arange(x.shape[0]), position]
