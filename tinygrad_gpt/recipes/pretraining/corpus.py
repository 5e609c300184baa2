"""The tokens of a pretraining run: texts read, cut into documents, put into numbers once, kept in the run's folder."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_gpt.data.pretraining import hold_out, load_text
from tinygrad_gpt.data.token_file import open_tokens, save_tokens
from tinygrad_gpt.errors import CheckpointError, DataError, UsageError
from tinygrad_gpt.files import sha256_of
from tinygrad_gpt.recipes.pretraining.config import PretrainConfig
from tinygrad_gpt.runs.progress import Preparation
from tinygrad_gpt.runs.saved_model import load_model
from tinygrad_gpt.text import END_OF_TEXT, Characters, Tokenizer, load_tokenizer, read_tokenizer
from tinygrad_gpt.text.pretrained import has_vocabulary, is_shipped

__all__ = ["Corpus", "documents", "encode_documents", "load_corpus", "load_vocabulary", "make_corpus", "save_corpus"]


@dataclass(frozen=True)
class Corpus:
    """A text in numbers.

    Args:
        tokenizer: its vocabulary.
        train, validation: token ids, (N,) uint16 or uint32; the second may be empty.
        validation_bytes: length of the validation text in UTF-8, line feeds at the ends of documents included.
        sources: sha256 of every file that was read, by its absolute path.
    """

    tokenizer: Tokenizer
    train: np.ndarray
    validation: np.ndarray
    validation_bytes: int
    sources: dict[str, str]


def documents(text: str) -> Iterator[str]:
    """The documents of a text: what is between its lines `<|endoftext|>`."""
    for document in text.split(END_OF_TEXT):
        if document.strip():
            yield document.strip("\n")


def encode_documents(tokenizer: Tokenizer, texts: Iterable[str]) -> np.ndarray:
    """Token ids (N,) uint16 or uint32 of all documents, an end-of-text token before each and at the end."""
    dtype = np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32
    parts = [np.array([tokenizer.eot_id, *tokenizer.encode(text)], dtype) for text in texts]
    return np.concatenate([*parts, np.array([tokenizer.eot_id], dtype)])


def load_vocabulary(path: str | Path) -> Tokenizer:
    """The vocabulary of a saved model, in a file of its own, or in a folder with vocab.json and merges.txt.

    Args:
        path: a model, file or folder; "gpt2", where nothing has that name, is GPT-2's, which ships.

    Raises:
        CheckpointError: no vocabulary is there, or it is damaged.
        UsageError: "cannot use the vocabulary (minilm): WordPiece does not give texts back; …".
    """
    path = Path(path)
    if is_shipped(path) or (path.is_dir() and has_vocabulary(path)):
        tokenizer = read_tokenizer(path)
    else:
        tokenizer = load_tokenizer(path) if path.suffix == ".json" else load_model(path).tokenizer
    from tinygrad_gpt.text import WordPiece

    if isinstance(tokenizer, WordPiece):
        raise UsageError(f"cannot use the vocabulary ({path}): WordPiece does not give texts back; give one of "
                         "byte-pair encoding, such as gpt2")
    return tokenizer


def make_corpus(config: PretrainConfig, tokenizer: Tokenizer | None,
                prepare: Callable[[Preparation], None]) -> Corpus:
    """Read the texts and put them into numbers; nothing is written.

    Args:
        config: names the texts, and the vocabulary to train if ``tokenizer`` is None.
        tokenizer: the vocabulary to use.
        prepare: told how far this is.

    Raises:
        DataError, UsageError: a text or vocabulary that cannot be used: "validation text (b.txt): it is a.txt, which
            is trained on; …".
    """
    def train(what):
        return _documents(config.data, lambda text: hold_out(text, config.hold_out)[0], what, prepare)

    if config.hold_out:
        validation = list(_documents(config.data, lambda text: hold_out(text, config.hold_out)[1], "reading", prepare))
    else:
        validation = list(_documents(config.validation, lambda text: text, "reading", prepare))
    if tokenizer is None and config.tokenizer == "characters":
        tokenizer = Characters.train(chain(train("collecting characters"), validation), config.vocab_size)
    elif tokenizer is None:
        tokenizer = Tokenizer.train(train("counting words"), config.vocab_size or 4096)
    return Corpus(
        tokenizer, encode_documents(tokenizer, train("tokenising")),
        encode_documents(tokenizer, validation) if validation else np.array([], np.uint16),
        sum(len(text.encode()) + 1 for text in validation), _digests(config))


def _digests(config: PretrainConfig) -> dict[str, str]:
    """The sha256 of each file, by its absolute path; a validation text that is trained on is refused."""
    digests = {path: sha256_of(path) for path in (*config.data, *config.validation)}
    for path in config.validation:
        if same := [other for other in config.data if digests[other] == digests[path]]:
            raise UsageError(f"validation text ({path}): it is {same[0]}, which is trained on; give another, or hold "
                             "out a share of each file")
    return {os.path.abspath(path): digest for path, digest in digests.items()}


def _documents(paths, part, what, prepare):
    """The documents of a part of each file, with a report after each."""
    for path in paths:
        text, done = part(load_text(path)), 0
        for document in documents(text):
            yield document
            done += len(document)
            prepare(Preparation(f"{what} ({Path(path).name})", done, len(text)))


def save_corpus(corpus: Corpus, folder: Path) -> dict[str, Any]:
    """Write vocabulary and tokens into the run's folder; returns what `load_corpus` needs to find them unchanged."""
    corpus.tokenizer.save(folder / "vocabulary.json")
    return {
        "vocabulary": corpus.tokenizer.digest,
        "tokens": save_tokens(folder / "tokens.npy", corpus.train),
        "validation_tokens": save_tokens(folder / "validation.npy", corpus.validation),
        "validation_bytes": corpus.validation_bytes,
        "sources": corpus.sources,
    }


def load_corpus(folder: Path, saved: dict[str, Any]) -> Corpus:
    """Map the tokens that `save_corpus` wrote into memory.

    A source that is gone is not missed; one that has changed is an error, for nobody can say which was meant.

    Raises:
        CheckpointError, DataError: a file is missing or damaged, or a source has changed.
    """
    for path, digest in saved["sources"].items():
        if Path(path).is_file() and sha256_of(path) != digest:
            raise DataError(f"cannot resume ({folder}): {path} has changed since the run began; put the old file back, "
                            "or start a new run in another folder")
    tokenizer = load_tokenizer(folder / "vocabulary.json")
    if tokenizer.digest != saved["vocabulary"]:
        raise CheckpointError(f"cannot resume ({folder}): vocabulary.json is not the one that the run began with; put "
                              "that back, or start a new run in another folder")
    return Corpus(tokenizer, open_tokens(folder / "tokens.npy", saved["tokens"]),
                  open_tokens(folder / "validation.npy", saved["validation_tokens"]), saved["validation_bytes"],
                  saved["sources"])
