"""The simplest vocabulary: every character is a token."""

import functools
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

import numpy as np

from tinygrad_gpt.errors import CheckpointError, DataError, UsageError
from tinygrad_gpt.text import bpe, vocabulary
from tinygrad_gpt.text.layout import Layout
from tinygrad_gpt.text.tokenizer import Tokenizer

__all__ = ["FORMAT", "Characters"]

FORMAT = "tinygrad_gpt characters 1"


class Characters(Tokenizer):
    """Text to ids and back, one id for each character of an alphabet; used as any other tokenizer.

    Args:
        characters: the alphabet in the order of the ids, each character once, at least one.

    Attributes:
        characters: as given.
        tokens: each character's bytes in UTF-8.
        eot_id: the id of `<|endoftext|>`, the last; it is added where texts are joined.
        vocab_size: `len(characters) + 1`.

    Raises:
        CheckpointError: `cannot use the vocabulary (65 characters): it has a character twice; …`.

    Example:
        >>> characters = Characters.train(["low lower lowest"])
        >>> characters.characters, characters.encode("slow")
        (' elorstw', [5, 2, 3, 7])

    Source: A. Karpathy, nanoGPT, data/shakespeare_char/prepare.py.
    """

    def __init__(self, characters: str) -> None:
        if why := _problem(characters):
            raise CheckpointError(f"cannot use the vocabulary ({len(characters)} characters): {why}; "
                                  "train or load it again")
        self.characters = characters
        self._set([character.encode() for character in characters], Layout.usual(len(characters)))

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int | None = None) -> Self:
        """Collect the characters of texts, in the order of their code points.

        Args:
            texts: the corpus, read once, one text at a time.
            vocab_size: the largest number of ids, the end-of-text token included; any number by default.

        Raises:
            UsageError: `cannot train a vocabulary (vocab_size 50): …; ask for 66 or more`.
            DataError: `cannot train a vocabulary (characters): the texts are empty; …`.
        """
        alphabet = set[str]()
        for text in texts:
            alphabet.update(bpe.well_formed(text))
        if not alphabet:
            raise DataError("cannot train a vocabulary (characters): the texts are empty; give texts with characters")
        if vocab_size is not None and len(alphabet) >= vocab_size:
            raise UsageError(f"cannot train a vocabulary (vocab_size {vocab_size}): the texts have {len(alphabet)} "
                             f"different characters, and the end of text comes last; ask for {len(alphabet) + 1} "
                             "or more")
        return cls("".join(sorted(alphabet)))

    @functools.cached_property
    def _id_of(self) -> dict[str, int]:
        return {character: i for i, character in enumerate(self.characters)}

    def _encode_ordinary(self, text: str) -> list[int]:
        """Look up each character.

        Raises:
            DataError: `unknown character 'é' (line 3, column 17): …`.
        """
        try:
            return list(map(self._id_of.__getitem__, text))
        except KeyError as error:
            character = error.args[0]
        before = text[:text.index(character)].split("\n")
        raise DataError(f"unknown character {character!r} (line {len(before)}, column {len(before[-1]) + 1}): it is "
                        f"not among the {len(self.characters)} of the vocabulary; remove it, or train on bytes")

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the alphabet as a plain array, for a checkpoint.

        Returns:
            `characters` (len(characters),) uint32, the code points.
        """
        return {"characters": np.array([ord(character) for character in self.characters], dtype=np.uint32)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Build the tokenizer that `to_arrays` took apart.

        Raises:
            CheckpointError: `cannot use the vocabulary (characters): …` where the array does not fit.
        """
        points = arrays.get("characters")
        if points is None or points.ndim != 1 or points.dtype != np.uint32:
            why = "it is missing" if points is None else f"it is {points.dtype} of shape {points.shape}"
        elif (points > sys.maxunicode).any():
            why = f"it holds {points.max()}"
        else:
            return cls("".join(map(chr, points.tolist())))
        raise CheckpointError(f"cannot use the vocabulary (characters): {why}, not a row of uint32 code points; "
                              "the checkpoint is damaged or not ours")

    def save(self, path: str | Path) -> None:
        """Write the alphabet as one JSON file, whole or not at all.

        Raises:
            TinygradError: as in `files.write_atomic`.
        """
        from tinygrad_gpt.files import write_atomic

        content = {"format": FORMAT, "digest": self.digest, "characters": self.characters}
        write_atomic(path, json.dumps(content, ensure_ascii=False, indent=0).encode() + b"\n")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read the file that `save` wrote.

        Raises:
            CheckpointError: `cannot read the vocabulary (vocab.json): …` where it is missing, foreign or damaged.
        """
        content = vocabulary.read_format(path, FORMAT, "Characters")
        characters = content.get("characters")
        if not isinstance(characters, str):
            raise vocabulary.refusal(path, "'characters' is not a string")
        if why := _problem(characters):
            raise vocabulary.refusal(path, why)
        loaded = cls(characters)
        if loaded.digest != content.get("digest"):
            raise vocabulary.refusal(path, f"its digest is {loaded.digest}, not {content.get('digest')!r:.60}")
        return loaded

    def __repr__(self) -> str:
        return f"Characters(vocab_size={self.vocab_size})"


def _problem(characters: str) -> str | None:
    """Say why a string is no alphabet, or None where it is one."""
    if not isinstance(characters, str):
        return "it is not a string"
    if not characters:
        return "it has no characters"
    if len(set(characters)) < len(characters):
        return "it has a character twice"
    if any("\ud800" <= character <= "\udfff" for character in characters):
        return "it has half a surrogate pair"
    return None
