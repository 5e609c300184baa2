"""Text and tokens: byte-level BPE to read (`bpe.py`), the fast tokenizer (`tokenizer.py`), and characters."""

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

__all__ = ["END_OF_TEXT", "Characters", "Tokenizer", "get_encoding", "load_tokenizer", "tokenizer_from_arrays"]


def tokenizer_from_arrays(arrays: "Mapping[str, np.ndarray]") -> Tokenizer:
    """Build whichever tokenizer `to_arrays` took apart.

    Raises:
        CheckpointError: `cannot use the vocabulary (token_lengths): …` where the arrays do not fit.
    """
    return (Characters if "characters" in arrays else Tokenizer).from_arrays(arrays)


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
    is_characters = vocabulary.read_content(path).get("format") == characters.FORMAT
    return (Characters if is_characters else Tokenizer).load(path)
