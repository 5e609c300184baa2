"""WordPiece, BERT's way of cutting texts, written to be read.

BERT reads words. A text is cleaned and cut at white space and around every punctuation mark and Chinese character;
uncased models also see it in lower case and without accents. A word that is in the vocabulary is one token. Any other
is cut from the left into the longest pieces that are, where a piece inside a word is written with `##` before it:
`unaffable` becomes `una ##ffa ##ble`. A word with a part that no piece fits, or with more than 100 characters, is
`[UNK]` as a whole: unlike byte-level BPE, WordPiece does not give every text back.

`wordpiece_tokenizer.py` gives the same tokens through a library, where it is installed.

Source: Devlin et al. 2019, "BERT", section 3; Wu et al. 2016, arXiv:1609.08144, section 4.1;
https://github.com/google-research/bert, `tokenization.py`.
"""

import functools
import string
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tinygrad_gpt.text.bpe import well_formed
from tinygrad_gpt.text.unicode8 import category

__all__ = ["MAX_CHARACTERS", "Normalization", "encode", "encode_word", "words"]

MAX_CHARACTERS = 100  # of a word; a longer one is unknown
# The blocks of Chinese characters; one begins at U+2B920 in `tokenizers`, not at U+2B820 as in BERT's own code.
CHINESE = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2A6DF), (0x2A700, 0x2B81F),
           (0x2B920, 0x2CEAF), (0x2F800, 0x2FA1F))


@dataclass(frozen=True)
class Normalization:
    """How a text is rewritten before it is cut; the names are those of tokenizer_config.json.

    Args:
        do_lower_case: whether the model is uncased.
        strip_accents: whether accents are removed; None: where `do_lower_case` is set.
        tokenize_chinese_chars: whether each Chinese character is a word.
    """

    do_lower_case: bool = True
    strip_accents: bool | None = None
    tokenize_chinese_chars: bool = True


def encode(text: str, ids: Mapping[str, int], unknown: int, normalization: Normalization) -> list[int]:
    """Cut a text into tokens.

    Args:
        text: any string; lone surrogates become U+FFFD, which is then removed.
        ids: of the tokens as they are written, those inside a word with `##`.
        unknown: the id of a word that cannot be cut.
        normalization: what is done to the text first.

    Returns:
        The ids of the tokens, in the order of the text.

    Source: Devlin et al. 2019; https://github.com/google-research/bert, `FullTokenizer`.
    """
    return [i for word in words(well_formed(text), normalization) for i in encode_word(word, ids, unknown)]


def words(text: str, normalization: Normalization) -> list[str]:
    """Return the words and punctuation marks of a text, rewritten as the model reads them."""
    text = "".join(map(_cleaned, text))
    if normalization.tokenize_chinese_chars:
        text = "".join(f" {character} " if _is_chinese(character) else character for character in text)
    if normalization.strip_accents or (normalization.strip_accents is None and normalization.do_lower_case):
        decomposed = unicodedata.normalize("NFD", text)  # é is e with an accent behind it
        text = "".join(character for character in decomposed if category(character) != "Mn")
    if normalization.do_lower_case:
        text = "".join(map(str.lower, text))  # one at a time: str.lower has another Σ at the end of a word
    return [part for word in text.split(" ") for part in _around_punctuation(word)]


def encode_word(word: str, ids: Mapping[str, int], unknown: int) -> list[int]:
    """Cut a word from the left, each time by the longest piece that is in the vocabulary."""
    if len(word) > MAX_CHARACTERS:
        return [unknown]
    found = []
    start = 0
    while start < len(word):
        mark = "##" if start else ""
        end = next((end for end in range(len(word), start, -1) if mark + word[start:end] in ids), None)
        if end is None:
            return [unknown]
        found.append(ids[mark + word[start:end]])
        start = end
    return found


@functools.cache
def _cleaned(character: str) -> str:
    """A space for white space, nothing for control and private characters, any other as it is."""
    kind = category(character)
    if character in "\t\n\r" or kind in ("Zs", "Zl", "Zp"):
        return " "
    return "" if kind in ("Cc", "Cf", "Co") or character == "\ufffd" else character


def _is_chinese(character: str) -> bool:
    return character >= "\u3400" and any(first <= ord(character) <= last for first, last in CHINESE)


@functools.cache
def _is_punctuation(character: str) -> bool:
    """Whether it is punctuation in Unicode, or an ASCII sign such as `$` or `^`."""
    return character in string.punctuation or category(character).startswith("P")


def _around_punctuation(word: str) -> Iterator[str]:
    """Cut a word before and behind each punctuation mark."""
    start = 0
    for i, character in enumerate(word):
        if _is_punctuation(character):
            if start < i:
                yield word[start:i]
            yield character
            start = i + 1
    if start < len(word):
        yield word[start:]
