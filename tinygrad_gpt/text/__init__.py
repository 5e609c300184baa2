"""Text and tokens: byte-level BPE (`bpe.py`) and WordPiece (`wordpiece.py`) to read, fast tokenizers, characters."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.text import characters, merges, vocabulary, wordpiece_tokenizer
from tinygrad_gpt.text.characters import Characters
from tinygrad_gpt.text.layout import END_OF_TEXT
from tinygrad_gpt.text.tokenizer import Tokenizer
from tinygrad_gpt.text.wordpiece_files import is_wordpiece
from tinygrad_gpt.text.wordpiece_tokenizer import WordPiece

if TYPE_CHECKING:
    import numpy as np

__all__ = ["END_OF_TEXT", "Characters", "Tokenizer", "WordPiece", "get_encoding", "load_tokenizer", "read_tokenizer",
           "tokenizer_from_arrays"]


def tokenizer_from_arrays(arrays: "Mapping[str, np.ndarray]") -> Tokenizer:
    """Build whichever tokenizer `to_arrays` took apart.

    Raises:
        CheckpointError: `cannot use the vocabulary (token_lengths): …` where the arrays do not fit.
    """
    kind = WordPiece if "wordpiece" in arrays else Characters if "characters" in arrays else Tokenizer
    return kind.from_arrays(arrays)


def read_tokenizer(folder: str | Path) -> Tokenizer:
    """Read whichever vocabulary a published model has: WordPiece as BERT, or byte-level BPE as GPT-2 and RoBERTa.

    Args:
        folder: as in `WordPiece.from_pretrained` and `Tokenizer.from_pretrained`.

    Raises:
        CheckpointError: `cannot read the vocabulary (model/vocab.txt): …` where a file is missing or damaged, or the
            vocabulary is of another kind.
    """
    return (WordPiece if is_wordpiece(folder) else Tokenizer).from_pretrained(folder)


def get_encoding(name: str) -> Tokenizer:
    """Return GPT-2's tokenizer, under the name of tiktoken's function; nothing is downloaded.

    Args:
        name: "gpt2".

    Raises:
        UsageError: `unknown encoding 'cl100k_base': …`.

    Example:
        >>> get_encoding("gpt2").encode("Hello<|endoftext|>", allowed_special={"<|endoftext|>"})
        [15496, 50256]
    """
    if name != "gpt2":
        raise UsageError(f"unknown encoding {name!r:.80}: only 'gpt2' ships with the package; use "
                         "Tokenizer.from_pretrained(FOLDER) for others")
    return _gpt2()


@functools.cache
def _gpt2() -> Tokenizer:
    return Tokenizer(merges.shipped())


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Read whichever tokenizer `save` wrote.

    Raises:
        CheckpointError: `cannot read the vocabulary (vocab.json): …` where it is missing, foreign or damaged.
    """
    kinds: dict[object, type[Tokenizer]] = {characters.FORMAT: Characters, wordpiece_tokenizer.FORMAT: WordPiece}
    found = vocabulary.read_content(path).get("format")
    return kinds.get(found if isinstance(found, str) else None, Tokenizer).load(path)
