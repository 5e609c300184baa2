"""No vocabulary at all: the text is the ids themselves, for models whose own vocabulary is not read here."""

from collections.abc import Collection, Iterable
from typing import Literal

from tinygrad_gpt.errors import DataError
from tinygrad_gpt.text.layout import Layout
from tinygrad_gpt.text.tokenizer import Tokenizer

__all__ = ["Numbers"]


class Numbers(Tokenizer):
    """Ids written as numbers with spaces between, used as any other tokenizer; it is not saved.

    Args:
        vocab_size: the number of ids.
        end_ids: ids at which a generated text ends; others than those of the vocabulary are left out.

    Example:
        >>> Numbers(300).encode("5 17 99"), Numbers(300).decode([5, 17])
        ([5, 17, 99], ' 5 17')
    """

    def __init__(self, vocab_size: int, end_ids: Iterable[int] = ()) -> None:
        ends = tuple(sorted({i for i in end_ids if 0 <= i < vocab_size}))
        self._set((), Layout((), {}, ends[0] if ends else vocab_size - 1, ends))
        self.vocab_size = vocab_size

    def encode(self, text: str, allowed_special: Literal["all"] | Collection[str] = (),
               disallowed_special: Literal["all"] | Collection[str] = ()) -> list[int]:
        """Read the numbers of a text.

        Args:
            text: at least one id, with white space or commas between.
            allowed_special, disallowed_special: change nothing; there are no special tokens.

        Raises:
            DataError: `not an id 'the' (number 3): the model has ids 0 to 299; …`.
        """
        words = text.replace(",", " ").split()
        for number, word in enumerate(words, start=1):
            if not (word.isascii() and word.isdecimal() and len(word) < 10 and int(word) < self.vocab_size):
                raise DataError(f"not an id {word[:40]!r} (number {number}): the model has ids 0 to "
                                f"{self.vocab_size - 1}; give numbers with spaces between")
        if not words:
            raise DataError("no ids (prompt): it is empty; give numbers with spaces between")
        return list(map(int, words))

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Write each id behind a space."""
        return "".join(f" {i}" for i in ids).encode()

    def special_in(self, texts: Iterable[str]) -> set[str]:
        """None: there are no special tokens."""
        return set()

    def __repr__(self) -> str:
        return f"Numbers(vocab_size={self.vocab_size})"
