"""The tokenizer of BERT: the WordPiece of `wordpiece.py`, run by the library `tokenizers` where it is installed.

Source: https://huggingface.co/docs/tokenizers.
"""

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np

from tinygrad_gpt.errors import CheckpointError, UsageError
from tinygrad_gpt.text import vocabulary
from tinygrad_gpt.text.layout import Layout
from tinygrad_gpt.text.tokenizer import Tokenizer
from tinygrad_gpt.text.wordpiece import MAX_CHARACTERS, Normalization, encode
from tinygrad_gpt.text.wordpiece_files import bert_layout, read_wordpiece, to_files

__all__ = ["FORMAT", "WordPiece"]

FORMAT = "tinygrad_gpt WordPiece 1"
# Signs that are written close to the word before them, or as part of it.
CLOSED_UP = {" .": ".", " ?": "?", " !": "!", " ,": ",", " ' ": "'", " n't": "n't", " 'm": "'m",
             " do not": " don't", " 's": "'s", " 've": "'ve", " 're": "'re"}



class WordPiece(Tokenizer):
    """Text to ids and back with the vocabulary of a BERT; used as any other tokenizer.

    Special tokens that a text holds are ordinary text: `[SEP]` is then `[`, `sep` and `]`, unless it is allowed.

    Args:
        vocabulary: the tokens in the order of their ids, each once, the special ones among them.
        layout: which of them are special; None: `[CLS]`, `[SEP]`, `[MASK]`, `[PAD]` and `[UNK]`.
        normalization: how texts are rewritten before they are cut.

    Attributes:
        vocabulary, layout, normalization: as given.
        tokens: each token's bytes in UTF-8.
        eot_id: the id of `[SEP]`.

    Raises:
        CheckpointError: `cannot use the vocabulary (3 tokens): it lacks '[CLS]'; …`.

    Example:
        >>> special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        >>> wordpiece = WordPiece([*special, "una", "##ffa", "##ble", "!"])
        >>> wordpiece.encode_sequence("Unaffable!"), wordpiece.decode([5, 6, 7, 8])
        ([2, 5, 6, 7, 8, 3], 'unaffable!')
    """

    def __init__(self, vocabulary: Sequence[str], layout: Layout | None = None,
                 normalization: Normalization | None = None) -> None:
        layout = bert_layout(vocabulary) if layout is None else layout
        if why := _problem(vocabulary, layout):
            raise CheckpointError(f"cannot use the vocabulary ({len(vocabulary)} tokens): {why}; load it again")
        self.vocabulary, self.normalization = tuple(vocabulary), normalization or Normalization()
        self._set([token.encode() for token in vocabulary], layout)

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> NoReturn:
        """Refuse: WordPiece vocabularies are read, not learned, here.

        Raises:
            UsageError: always.
        """
        raise UsageError("cannot train a vocabulary (WordPiece): only published ones are read; use from_pretrained, "
                         "or train a Tokenizer")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Read the vocabulary of a published model.

        Args:
            folder: holds vocab.txt or tokenizer.json, as in `wordpiece_files.read_wordpiece`.

        Raises:
            CheckpointError: `cannot read the vocabulary (model/vocab.txt): …` where it is missing, damaged, or not
                built like BERT's.
        """
        return cls(*read_wordpiece(folder))

    def _files(self) -> dict[str, bytes]:
        return to_files(self.vocabulary, self.layout, self.normalization)

    @functools.cached_property
    def _id_of(self) -> dict[str, int]:
        """The id of each token that a text can become; special tokens are none of them."""
        hidden = set(self.special.values()) - {self.layout.unk_id}
        return {token: i for i, token in enumerate(self.vocabulary) if i not in hidden}

    @functools.cached_property
    def _library(self) -> Any:
        """The same rules in the library `tokenizers`; None where it is not installed."""
        try:
            import tokenizers  # only here: a tokenizer is loaded, compared and saved without it
        except ImportError:
            return None
        normalization, unknown = self.normalization, self.vocabulary[self._unknown]
        library = tokenizers.Tokenizer(tokenizers.models.WordPiece(
            self._id_of, unk_token=unknown, max_input_chars_per_word=MAX_CHARACTERS))
        library.normalizer = tokenizers.normalizers.BertNormalizer(
            clean_text=True, handle_chinese_chars=normalization.tokenize_chinese_chars,
            strip_accents=normalization.strip_accents, lowercase=normalization.do_lower_case)
        library.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        return library

    @property
    def _unknown(self) -> int:
        assert self.layout.unk_id is not None  # `_problem` looked
        return self.layout.unk_id

    def _encode_ordinary(self, text: str) -> list[int]:
        if self._library is None:
            return encode(text, self._id_of, self._unknown, self.normalization)
        return self._library.encode(text, add_special_tokens=False).ids

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Join tokens with spaces, pieces of a word without; most punctuation closes up to the word before it.

        Args:
            ids: each in [0, vocab_size).

        Raises:
            DataError: `token id 30522 (position 3): the vocabulary has ids 0 to 30521; …`.
        """
        parts = []
        for position, i in enumerate(self._checked(ids)):
            token = self.vocabulary[i]
            if position:
                token = token[2:] if token.startswith("##") else f" {token}"
            for apart, closed in CLOSED_UP.items():
                token = token.replace(apart, closed)
            parts.append(token)
        return "".join(parts).encode()

    def _settings(self) -> dict[str, Any]:
        """What the vocabulary is beside its tokens, as JSON."""
        layout = self.layout.to_json()
        del layout["ids"]  # they are 0, 1, 2, …
        return {"normalization": asdict(self.normalization), "layout": layout}

    @property
    def digest(self) -> str:
        """The digest of the vocabulary, 32 hexadecimal digits: equal where the ids mean the same."""
        settings = json.dumps(self._settings(), sort_keys=True)
        return hashlib.blake2b(f"{vocabulary.digest(self.tokens)} {settings}".encode(), digest_size=16).hexdigest()

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the vocabulary as plain arrays, for a checkpoint.

        Returns:
            `token_bytes` (n_bytes,) uint8, all tokens end to end, `token_lengths` (vocab_size,) uint32, and
            `wordpiece` (n,) uint8, the settings as JSON.
        """
        return {
            "token_bytes": np.frombuffer(b"".join(self.tokens), dtype=np.uint8),
            "token_lengths": np.array([len(token) for token in self.tokens], dtype=np.uint32),
            "wordpiece": np.frombuffer(json.dumps(self._settings()).encode(), dtype=np.uint8)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Build the tokenizer that `to_arrays` took apart.

        Raises:
            CheckpointError: `cannot use the vocabulary (token_lengths): …` where the arrays do not fit.
        """
        tokens = vocabulary.tokens_of(arrays, settings="wordpiece")
        try:
            texts = [token.decode() for token in tokens]
            layout, normalization = _from_settings(json.loads(arrays["wordpiece"].tobytes()), len(texts))
        except (ValueError, RecursionError) as error:
            why = str(error) if isinstance(error, CheckpointError) else "it is not JSON, or a token is no text"
            raise CheckpointError(f"cannot use the vocabulary (wordpiece): {why}; the checkpoint is damaged or not ours"
                                  ) from None
        return cls(texts, layout, normalization)

    def save(self, path: str | Path) -> None:
        """Write the vocabulary as one JSON file, whole or not at all.

        Raises:
            TinygradError: as in `files.write_atomic`.
        """
        from tinygrad_gpt.files import write_atomic

        content = {"format": FORMAT, "digest": self.digest, "tokens": self.vocabulary, **self._settings()}
        write_atomic(path, json.dumps(content, ensure_ascii=False, indent=0).encode() + b"\n")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read the file that `save` wrote.

        Raises:
            CheckpointError: `cannot read the vocabulary (vocab.json): …` where it is missing, foreign or damaged.
        """
        content = vocabulary.read_format(path, FORMAT, "WordPiece")
        tokens = content.get("tokens")
        if not isinstance(tokens, list):
            raise vocabulary.refusal(path, "'tokens' is not a list of strings")
        try:
            layout, normalization = _from_settings(content, len(tokens))
        except CheckpointError as error:
            raise vocabulary.refusal(path, str(error)) from None
        if why := _problem(tokens, layout):
            raise vocabulary.refusal(path, why)
        loaded = cls(tokens, layout, normalization)
        if loaded.digest != content.get("digest"):
            raise vocabulary.refusal(path, f"its digest is {loaded.digest}, not {content.get('digest')!r:.60}")
        return loaded

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WordPiece) and super().__eq__(other) and self.normalization == other.normalization

    __hash__ = Tokenizer.__hash__

    def __repr__(self) -> str:
        return f"WordPiece(vocab_size={self.vocab_size})"


def _problem(tokens: Sequence[str], layout: Layout) -> str | None:
    """Say why these are no WordPiece vocabulary, or None where they are one."""
    if not all(isinstance(token, str) and token for token in tokens):
        return "a token is empty or no text"
    if any("\ud800" <= character <= "\udfff" for character in "".join(tokens)):
        return "a token has half a surrogate pair"
    if len(set(tokens)) < len(tokens):
        return "it has a token twice"
    if layout.ids != tuple(range(len(tokens))):
        return f"its ids are not 0 to {len(tokens) - 1}"
    if any(i >= len(tokens) or tokens[i] != text for text, i in layout.special.items()):
        return "a special token has another id than its text"
    if layout.unk_id is None:
        return "it has no token for unknown words"
    return layout.problem()


def _from_settings(content: Any, n_tokens: int) -> tuple[Layout, Normalization]:
    """Read what `WordPiece._settings` returned.

    Raises:
        CheckpointError: a reason without the file's name.
    """
    try:
        layout = Layout.from_json({**content["layout"], "ids": range(n_tokens)})
        normalization = Normalization(**content["normalization"])
    except (TypeError, KeyError):
        raise CheckpointError("its settings are not those of WordPiece") from None
    if any(type(value) is not bool for name, value in asdict(normalization).items()
           if not (name == "strip_accents" and value is None)):
        raise CheckpointError("its settings are not those of WordPiece")
    return layout, normalization
