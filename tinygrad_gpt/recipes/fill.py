"""The likeliest words for the hidden tokens of a text, by an encoder with a masked-language head."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinygrad_gpt import ops
from tinygrad_gpt.checkpoints.bert_files import is_bert
from tinygrad_gpt.checkpoints.download import MODELS
from tinygrad_gpt.checkpoints.native import is_native
from tinygrad_gpt.engine import no_grad
from tinygrad_gpt.errors import CheckpointError, DataError
from tinygrad_gpt.models.masked_lm import MaskedLM
from tinygrad_gpt.runs.saved_model import model_file
from tinygrad_gpt.text import Tokenizer, read_tokenizer

__all__ = ["Filled", "Word", "fill", "load_masked_lm"]


@dataclass(frozen=True)
class Word:
    """A token that may stand at a place.

    Args:
        text: the token; a piece inside a word begins with `##` in BERT's vocabulary.
        id: of the token.
        probability: that the model gives it.
    """

    text: str
    id: int
    probability: float


@dataclass(frozen=True)
class Filled:
    """The answer for one text.

    Args:
        text: as given.
        places: for each hidden token, in the order of the text, the likeliest words first.
    """

    text: str
    places: list[list[Word]]


def load_masked_lm(path: str | Path) -> tuple[MaskedLM, Tokenizer]:
    """Read a published encoder with its masked-language head and its vocabulary.

    Args:
        path: as in `saved_model.model_file`.

    Raises:
        CheckpointError: a file is missing or damaged, or the model has no such head: "cannot fill (storyteller): …".
    """
    if str(path) in MODELS and not Path(path).exists():
        raise CheckpointError(f"cannot fill ({path}): it is published without a masked-language head; give the folder "
                              "of a BertForMaskedLM, such as bert-base-uncased")
    file = model_file(path)
    if is_native(file) or not is_bert(file):
        raise CheckpointError(f"cannot fill ({path}): it is no published encoder with a masked-language head; give the "
                              "folder of a BertForMaskedLM, such as bert-base-uncased")
    model, tokenizer = MaskedLM.from_pretrained(file), read_tokenizer(file.parent)
    if tokenizer.mask_id is None or tokenizer.vocab_size > model.transformer.config.vocab_size:
        raise CheckpointError(f"cannot fill ({path}): its vocabulary has no token for a hidden word, or more tokens "
                              "than the model; put the model's own vocabulary beside it")
    return model, tokenizer


def fill(model: MaskedLM, tokenizer: Tokenizer, texts: Sequence[str], top: int = 5) -> Iterator[Filled]:
    """Say what may stand at the hidden tokens of texts.

    Args:
        texts: each with at least one mask token, `[MASK]` in BERT's vocabulary.
        top: how many words to give for each, at most the size of the vocabulary.

    Raises:
        DataError: "no [MASK] (text 2): …"; "too long a text (text 2): it has 600 tokens, …".
    """
    mask = next(text for text, i in tokenizer.special.items() if i == tokenizer.mask_id)
    n_ctx, read = model.transformer.config.n_ctx, []
    for number, text in enumerate(texts, start=1):
        read.append(ids := tokenizer.encode_sequence(text, allowed_special={mask}))
        if tokenizer.mask_id not in ids:
            raise DataError(f"no {mask} (text {number}): there is nothing to fill in; write {mask} for the hidden word")
        if len(ids) > n_ctx:
            raise DataError(f"too long a text (text {number}): it has {len(ids):,} tokens, and the model reads "
                            f"{n_ctx:,}; shorten it")
    for text, ids in zip(texts, read, strict=True):
        with no_grad():
            hidden = model.transformer(np.array([ids]))[0]  # (T, C)
            places = np.flatnonzero(np.array(ids) == tokenizer.mask_id)
            scores = model.scores(hidden[places])[:, :tokenizer.vocab_size]  # (n, V)
            yield Filled(text, [_likeliest(row, tokenizer, top) for row in ops.softmax(scores).numpy()])


def _likeliest(probabilities: np.ndarray, tokenizer: Tokenizer, top: int) -> list[Word]:
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [Word(tokenizer.decode([i]), int(i), float(probabilities[i])) for i in order]
