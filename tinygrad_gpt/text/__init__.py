"""Text and tokens: byte-level BPE (`bpe.py`) and WordPiece (`wordpiece.py`) to read, fast tokenizers, characters."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.text import characters, merges, vocabulary
from tinygrad_gpt.text.characters import Characters
from tinygrad_gpt.text.layout import END_OF_TEXT
from tinygrad_gpt.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    import numpy as np

    from tinygrad_gpt.text.wordpiece_tokenizer import WordPiece

__all__ = ["END_OF_TEXT", "Characters", "Tokenizer", "WordPiece", "get_encoding", "load_tokenizer", "read_tokenizer",
           "tokenizer_from_arrays"]


def __getattr__(name: str) -> type[Tokenizer]:
    """Import `WordPiece` when it is first used: most models do without."""
    if name == "WordPiece":
        from tinygrad_gpt.text.wordpiece_tokenizer import WordPiece

        return WordPiece
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def tokenizer_from_arrays(arrays: "Mapping[str, np.ndarray]") -> Tokenizer:
    """Build whichever tokenizer `to_arrays` took apart.

    Raises:
        CheckpointError: `cannot use the vocabulary (token_lengths): …` where the arrays do not fit.
    """
    if "wordpiece" in arrays:
        from tinygrad_gpt.text.wordpiece_tokenizer import WordPiece

        return WordPiece.from_arrays(arrays)
    return (Characters if "characters" in arrays else Tokenizer).from_arrays(arrays)


def read_tokenizer(folder: str | Path) -> Tokenizer:
    """Read whichever vocabulary a published model has: WordPiece as BERT, or byte-level BPE as GPT-2 and RoBERTa.

    Args:
        folder: as in `WordPiece.from_pretrained` and `Tokenizer.from_pretrained`.

    Raises:
        CheckpointError: `cannot read the vocabulary (model/vocab.txt): …` where a file is missing or damaged, or the
            vocabulary is of another kind.
    """
    from tinygrad_gpt.text.wordpiece_files import is_wordpiece
    from tinygrad_gpt.text.wordpiece_tokenizer import WordPiece

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
    from tinygrad_gpt.text import wordpiece_tokenizer

    kinds: dict[object, type[Tokenizer]] = {
        characters.FORMAT: Characters, wordpiece_tokenizer.FORMAT: wordpiece_tokenizer.WordPiece}
    found = vocabulary.read_content(path).get("format")
    return kinds.get(found if isinstance(found, str) else None, Tokenizer).load(path)
