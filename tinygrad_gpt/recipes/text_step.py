"""One training step of a saved model on one text, to be looked at."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from tinygrad_gpt import ops
from tinygrad_gpt.backend import default_backend
from tinygrad_gpt.data.batches import truncate
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import DataError, UsageError
from tinygrad_gpt.models.bert import Bert
from tinygrad_gpt.models.classifier import TextClassifier
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config, seed_dropout
from tinygrad_gpt.recipes.classification.classify import encode_texts
from tinygrad_gpt.runs.saved_model import SavedModel
from tinygrad_gpt.study.trace import Trace, record
from tinygrad_gpt.text import Tokenizer

__all__ = ["TextStep", "text_step", "tiny_step"]


@dataclass(frozen=True)
class TextStep:
    """A loss of a model, which can be computed again and again.

    Args:
        model: all its parameters take gradients.
        compute: returns the loss, a tensor of one value.
        tokens: what the model reads, as text, one string a token.
        targets: for a language model the token that should follow each of them, as text; for a classifier the label.
        ids: (B, T) what the model reads.
        target_ids: (B, T), or (B) numbers of labels.
        left_out: how many tokens of the text are beyond the model's context.
        decode: the text of a token's id.
        labels: of a classifier, in the order of the scores.
    """

    model: GPT2 | TextClassifier
    compute: Callable[[], Tensor]
    tokens: tuple[str, ...]
    targets: tuple[str, ...]
    ids: np.ndarray
    target_ids: np.ndarray
    left_out: int = 0
    decode: Callable[[int], str] = str
    labels: tuple[str, ...] = ()

    @property
    def transformer(self) -> GPT2 | Bert:
        """The model without a classifier's head."""
        return self.model.transformer if isinstance(self.model, TextClassifier) else self.model

    def freeze(self) -> "TextStep":
        """Let only the last block and what is behind it take gradients, as in finetuning; returns the step."""
        self.transformer.freeze()
        for part in (self.transformer.h[-1], *self.transformer.ends):
            part.freeze(False)
        return self

    @property
    def parameters(self) -> list[tuple[str, Tensor]]:
        """Names and parameters."""
        return list(self.model.named_parameters())

    def trace(self, dtype: str = "float32") -> Trace:
        """Record the step with the parameters in a dtype, "float32" or "float64", in which they stay."""
        for parameter in self.model.parameters():
            parameter.data = parameter.data.astype(dtype)
        return record(self.compute, self.parameters, self.model.named_modules())


def text_step(saved: SavedModel, text: str, label: str | None = None) -> TextStep:
    """The loss of a saved model on a text: of each next token, or of a label.

    Args:
        text: read after the end-of-text token, with which each document begins; what is beyond the context is left out.
        label: for a classifier the right class; None: the one that it answers.

    Raises:
        DataError: "empty text: …".
        UsageError: "label (sapm): not one of ham, spam"; a label for a language model.
    """
    if not text.strip():
        raise DataError("empty text: a step needs a token to predict; give a text with words")
    if saved.thresholds:
        raise UsageError("a step of a model with several labels for a text has no page; give a model of one class")
    if saved.labels:
        return _label_step(saved, text, label)
    if label is not None:
        raise UsageError(f"label ({label}): the model is a language model and has no labels; leave it out")
    tokenizer, model = saved.tokenizer, saved.transformer.freeze(False).eval()
    ids = [tokenizer.eot_id, *tokenizer.encode(text)]
    read = ids[:model.config.n_ctx + 1]
    return replace(_next_tokens(model, np.array([read]), _text_of(tokenizer)), left_out=len(ids) - len(read))


def _text_of(tokenizer: Tokenizer) -> Callable[[int], str]:
    """The text of an id; a model may have more ids than its vocabulary."""
    return lambda i: tokenizer.decode([i]) if i < tokenizer.vocab_size else f"<{i}>"


def _next_tokens(model: GPT2, ids: np.ndarray, decode: Callable[[int], str]) -> TextStep:
    """The loss of predicting ids (B, T + 1), each from those before it; the tokens are those of the first row."""
    words = tuple(map(decode, ids[0].tolist()))
    read, targets = (default_backend().from_numpy(part) for part in (ids[:, :-1], ids[:, 1:]))

    def loss() -> Tensor:
        seed_dropout(model, 0, 0)  # the same masks each time
        return model.loss(read, targets)

    return TextStep(model, loss, words[:-1], words[1:], ids[:, :-1], ids[:, 1:], decode=decode)


def _label_step(saved: SavedModel, text: str, label: str | None) -> TextStep:
    model, tokenizer = saved.classifier, saved.tokenizer
    model.freeze(False).eval()
    if label is not None and label not in saved.labels:
        raise UsageError(f"label ({label}): not one of {', '.join(saved.labels)}")
    (ids,), _ = encode_texts(tokenizer, [text], None, model.reading.start)
    read = np.array(truncate([ids], model.context, model.specials // 2)[0])
    left_out, length = len(ids) - read.size, np.array([read.size])
    if model.reading.filled:
        read = np.pad(read, ((0, 0), (0, model.context - read.size)), constant_values=model.reading.pad_id)
    batch, lengths = (default_backend().from_numpy(a) for a in (read, length))
    target = np.array([saved.labels.index(label) if label else int(model(batch, lengths).numpy().argmax())])
    targets = default_backend().from_numpy(target)
    words = tuple(map(_text_of(tokenizer), read[0].tolist()))
    return TextStep(model, lambda: ops.cross_entropy(model(batch, lengths), targets), words,
                    (saved.labels[int(target[0])],), read, target, left_out, _text_of(tokenizer), saved.labels)


def tiny_step() -> TextStep:
    """A step of a GPT-2 of two blocks, width 16, with dropout, on two sequences of eight tokens."""
    model = GPT2(GPT2Config(vocab_size=50, n_ctx=8, n_embd=16, n_layer=2, n_head=2, dropout=0.1)).train()
    return _next_tokens(model, np.random.default_rng(0).integers(0, 50, (2, 9)), str)
