"""The fast tokenizer: the byte-level BPE of `bpe.py`, run by tiktoken.

Byte-level BPE cuts any text into byte strings of one vocabulary, joins them where the vocabulary says so, and
gives the text back exactly (Sennrich et al. 2016; Radford et al. 2019; `bpe.py` shows how). Here the same ranks
are handed to `tiktoken.Encoding`. Nothing is ever downloaded: a vocabulary is trained, read from a local file, or
embedded in a checkpoint.

Source: https://github.com/openai/tiktoken.
"""

import functools
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from tinygrad_gpt.errors import CheckpointError, DataError, UsageError
from tinygrad_gpt.text import bpe, vocabulary
from tinygrad_gpt.text.layout import END_OF_TEXT, Layout
from tinygrad_gpt.text.pretrained import read_pretrained, to_files

if TYPE_CHECKING:
    import tiktoken

__all__ = ["END_OF_TEXT", "Tokenizer"]

# White space as Unicode and PATTERN have it; Python's own \s also takes U+001C to U+001F.
_LONG_WHITE_SPACE = re.compile(r"(?<![^\S\x1c-\x1f])[^\S\x1c-\x1f]{100000,}")


class Tokenizer:
    """Text to token ids and back, with one vocabulary.

    Args:
        tokens: the byte strings by rank; each once, none empty, the 256 single bytes among them.
        layout: the ids of the tokens, and the special tokens; None: as GPT-2's, where the id of a token is its rank,
            and the end-of-text token `<|endoftext|>` comes after the last one.

    Attributes:
        tokens: as given, a tuple.
        layout: as given.
        special: the id of each special or added token by its text. `encode` makes these only where they are allowed.
        eot_id: the id of the token that ends a text; it is added where texts are joined.
        end_ids: the ids at which a generated text ends, `eot_id` among them.
        cls_id, sep_id, mask_id, pad_id: the ids of an encoder's `[CLS]`, `[SEP]`, `[MASK]` and `[PAD]`; None where
            the vocabulary has none.
        vocab_size: the number of ids.

    Raises:
        CheckpointError: `cannot use the vocabulary (300 tokens): it has a token twice; …`.

    Example:
        >>> tokenizer = Tokenizer.train(["low lower lowest"], vocab_size=260)
        >>> tokenizer.decode(tokenizer.encode("lowly"))
        'lowly'
    """

    def __init__(self, tokens: Sequence[bytes], layout: Layout | None = None) -> None:
        layout = Layout.usual(len(tokens)) if layout is None else layout
        if why := vocabulary.problem(tokens, layout):
            raise CheckpointError(f"cannot use the vocabulary ({len(tokens)} tokens): {why}; train or load it again")
        self._set(tokens, layout)

    def _set(self, tokens: Sequence[bytes], layout: Layout) -> None:
        self.tokens, self.layout = tuple(tokens), layout
        self.special, self.eot_id, self.end_ids = dict(layout.special), layout.eot_id, frozenset(layout.end_ids)
        self.cls_id, self.sep_id, self.mask_id, self.pad_id = (
            layout.start_id, layout.sep_id, layout.mask_id, layout.pad_id)
        self.vocab_size = layout.vocab_size

    @property
    def n_vocab(self) -> int:
        """`vocab_size`, under tiktoken's name."""
        return self.vocab_size

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> Self:
        """Learn a vocabulary from texts.

        Args:
            texts: the corpus, read once, one text at a time.
            vocab_size: the number of ids, the end-of-text token included; at least 257. A corpus too small for
                it gives fewer: `tokenizer.vocab_size` is the number that counts.

        Raises:
            UsageError: `cannot train a vocabulary (vocab_size 100): …; ask for 257 or more`.
        """
        if vocab_size < 257:
            raise UsageError(f"cannot train a vocabulary (vocab_size {vocab_size}): the 256 single bytes and the "
                             "end of text come first; ask for 257 or more")
        return cls(bpe.train(texts, vocab_size - 1))

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Read the vocabulary of a published model.

        Args:
            folder: as in `text.pretrained.read_pretrained`: holds `tokenizer.json`, or `vocab.json` and `merges.txt`.
                Where it does not exist, "gpt2" is GPT-2's own vocabulary, which ships with the package.

        Raises:
            CheckpointError: `cannot read the vocabulary (model/vocab.json): …` where a file is missing or damaged,
                or the vocabulary is not built like GPT-2's.
        """
        return cls(*read_pretrained(folder))

    def save_pretrained(self, folder: str | Path) -> list[str]:
        """Write the files with which `transformers` finds the same ids.

        Returns:
            Their names: vocab.json and merges.txt; for ids unlike GPT-2's also tokenizer.json and
            tokenizer_config.json.

        Raises:
            CheckpointError: `cannot write merges (…): …` where the tokens are not those of byte-pair encoding.
            TinygradError: as in `files.write_atomic`.
        """
        from tinygrad_gpt.files import write_atomic

        files = self._files()
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            write_atomic(Path(folder) / name, data)
        return list(files)

    def _files(self) -> dict[str, bytes]:
        """The files of `save_pretrained`, by name."""
        return to_files(self.tokens, self.layout)

    @functools.cached_property
    def _encoding(self) -> "tiktoken.Encoding":
        import tiktoken  # only here: a tokenizer is loaded, compared and saved without it

        return tiktoken.Encoding(
            "tinygrad_gpt",
            pat_str=bpe.PATTERN,
            mergeable_ranks={token: rank for rank, token in enumerate(self.tokens)},
            special_tokens={},
        )

    def encode(self, text: str, allowed_special: Literal["all"] | Collection[str] = (),
               disallowed_special: Literal["all"] | Collection[str] = ()) -> list[int]:
        """Cut a text into token ids, in time almost linear in its length (tiktoken before 0.13 was quadratic).

        Args:
            text: any string; lone surrogates become U+FFFD.
            allowed_special: special tokens that become their ids where the text holds them; "all" of them, or none by
                default: `<|endoftext|>` is then ordinary text.
            disallowed_special: special tokens that the text must not hold, unless they are allowed; "all", or none by
                default, where tiktoken disallows all.

        Returns:
            Without special tokens the ids that `bpe.encode` gives.

        Raises:
            DataError: `disallowed special token '<|endoftext|>' (character 13): …`.
        """
        text = bpe.well_formed(text)
        allowed = self._chosen(allowed_special, "allowed_special") & self.special.keys()
        disallowed = self._chosen(disallowed_special, "disallowed_special") - allowed
        if disallowed and (found := _any_of(disallowed).search(text)):
            raise DataError(f"disallowed special token {found[1]!r} (character {found.start(1) + 1}): the text holds "
                            "it; remove it, or pass allowed_special")
        if not allowed:
            return self._encode_ordinary(text)
        ids, pattern = [], _any_of(allowed, allowed.intersection(self.layout.lstrip))
        for i, part in enumerate(pattern.split(text)):  # each second part is a special token
            ids += [self.special[part]] if i % 2 else self._encode_ordinary(part)
        return ids

    def encode_sequence(self, text: str, length: int | None = None,
                        allowed_special: Literal["all"] | Collection[str] = ()) -> list[int]:
        """Cut a text into ids as an encoder reads it: `[CLS] text [SEP]`.

        Args:
            text: any string.
            length: the most ids, `[CLS]` and `[SEP]` among them; the end of a longer text is cut off. None: any number.
            allowed_special: as in `encode`.

        Raises:
            UsageError: `length is 1; …`.
        """
        first, last = ([] if i is None else [i] for i in (self.cls_id, self.sep_id))
        room = None if length is None else length - len(first) - len(last)
        if room is not None and room < 1:
            raise UsageError(f"length is {length}; give at least {len(first) + len(last) + 1}, so that text has room")
        return [*first, *self.encode(text, allowed_special)[:room], *last]

    def _chosen(self, tokens: Literal["all"] | Collection[str], name: str) -> set[str]:
        if isinstance(tokens, str) and tokens != "all":
            raise UsageError(f'{name} is {tokens!r:.80}; give "all" or a set of strings')
        return set(self.special if tokens == "all" else tokens)

    def special_in(self, texts: Iterable[str]) -> set[str]:
        """The special tokens that texts hold, as text."""
        pattern = _any_of(self.special)
        return {match for text in texts for match in pattern.findall(text)}

    def _encode_ordinary(self, text: str) -> list[int]:
        encode = self._encoding.encode_ordinary
        if self.layout.prefix_space and text and not text.startswith(" "):
            text = f" {text}"
        ranks = [rank for part in _cut_long_white_space(text) for rank in encode(part)]
        return list(map(self._ids.__getitem__, ranks)) if self._ids else ranks

    @functools.cached_property
    def _ids(self) -> tuple[int, ...]:
        """The id of each rank; empty where they are the same."""
        return () if self.layout.ids == tuple(range(len(self.tokens))) else self.layout.ids

    @functools.cached_property
    def _bytes(self) -> list[bytes]:
        """The bytes of each id."""
        pieces = {i: text.encode() for text, i in self.special.items()}
        pieces |= zip(self.layout.ids, self.tokens, strict=True)
        return [pieces[i] for i in range(self.vocab_size)]

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Join the bytes of tokens; a token may end inside a character.

        Args:
            ids: each in [0, vocab_size).

        Raises:
            DataError: `token id 50257 (position 3): the vocabulary has ids 0 to 50256; …`.
        """
        return b"".join(map(self._bytes.__getitem__, self._checked(ids)))

    def _checked(self, ids: Iterable[int]) -> list[int]:
        """Ids as a list; DataError where one is not of the vocabulary."""
        ids = list(ids)
        for position, i in enumerate(ids):
            if not 0 <= i < self.vocab_size:
                raise DataError(f"token id {i} (position {position}): the vocabulary has ids 0 to "
                                f"{self.vocab_size - 1}; decode with the tokenizer that encoded the text")
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Join tokens back into text; bytes that are no valid UTF-8 become U+FFFD.

        Args:
            ids: each in [0, vocab_size); special tokens become their texts, such as `<|endoftext|>`.

        Raises:
            DataError: as in `decode_bytes`.
        """
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the vocabulary as plain arrays, for a checkpoint.

        Returns:
            `token_bytes` (n_bytes,) uint8, all tokens end to end, and `token_lengths` (len(tokens),) uint32; for a
            layout unlike GPT-2's also `layout` (n,) uint8, as JSON.
        """
        arrays: dict[str, np.ndarray] = {
            "token_bytes": np.frombuffer(b"".join(self.tokens), dtype=np.uint8),
            "token_lengths": np.array([len(token) for token in self.tokens], dtype=np.uint32),
        }
        if self.layout != Layout.usual(len(self.tokens)):
            arrays["layout"] = np.frombuffer(json.dumps(self.layout.to_json()).encode(), dtype=np.uint8)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Build the tokenizer that `to_arrays` took apart.

        Raises:
            CheckpointError: `cannot use the vocabulary (token_lengths): …` where the arrays do not fit.
        """
        tokens = vocabulary.tokens_of(arrays)
        if "layout" not in arrays:
            return cls(tokens)
        try:
            return cls(tokens, Layout.from_json(json.loads(arrays["layout"].tobytes())))
        except (ValueError, RecursionError) as error:
            why = str(error) if isinstance(error, CheckpointError) else "it is not JSON"
            raise CheckpointError(f"cannot use the vocabulary (layout): {why}; the checkpoint is damaged or not ours"
                                  ) from None

    @property
    def digest(self) -> str:
        """The digest of the vocabulary, 32 hexadecimal digits: equal where the ids mean the same."""
        return vocabulary.digest(self.tokens, self.layout)

    def save(self, path: str | Path) -> None:
        """Write the vocabulary as one JSON file, whole or not at all.

        Raises:
            TinygradError: as in `files.write_atomic`.
        """
        from tinygrad_gpt.files import write_atomic

        write_atomic(path, vocabulary.to_json(self.tokens, self.layout))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read the file that `save` wrote.

        Raises:
            CheckpointError: `cannot read the vocabulary (vocab.json): …` where it is missing, foreign or damaged.
        """
        return cls(*vocabulary.read_json(path))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and (self.tokens, self.layout) == (other.tokens, other.layout)

    def __hash__(self) -> int:
        return hash(self.tokens)

    def __repr__(self) -> str:
        return f"Tokenizer(vocab_size={self.vocab_size})"


def _any_of(tokens: Iterable[str], lstrip: Iterable[str] = ()) -> re.Pattern[str]:
    """Match any of the tokens, as one group; the longest where several begin at one place.

    Args:
        lstrip: those that are matched with all white space before them, which is not in the group.
    """
    one, stripping = ("|".join(map(re.escape, sorted(some, key=len, reverse=True))) for some in (tokens, lstrip))
    space = r"[^\S\x1c-\x1f]"
    return re.compile(f"(?:(?<!{space}){space}++(?={stripping}))?({one})" if stripping else f"({one})")


def _cut_long_white_space(text: str) -> Iterator[str]:
    """Cut around each run of 100,000 white spaces or more, where tiktoken panics; the tokens stay the same.

    The cuts are where `PATTERN` cuts: before the run, and before its last character, which belongs to what follows.
    """
    start = 0
    for run in _LONG_WHITE_SPACE.finditer(text):
        end = run.end() if run.end() == len(text) else run.end() - 1
        yield text[start : run.start()]
        yield text[run.start() : end]
        start = end
    yield text[start:]
