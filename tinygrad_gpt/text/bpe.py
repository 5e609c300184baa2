"""Byte-level byte-pair encoding, written to be read: how a vocabulary is learned, and how it cuts a text.

A language model reads numbers, so a text is cut into *tokens*, and each token is its rank in a vocabulary.
Whole words would need an endless vocabulary, single characters make long sequences. Byte-pair encoding lies
between: it starts from the smallest units and repeatedly joins the pair of neighbours that is most frequent in a
corpus, so common words become one token and rare ones a few (Sennrich et al. 2016). GPT-2 starts from the 256
*bytes* of UTF-8 instead of characters: any text of any script can be encoded, nothing is unknown, and decoding
gives the text back exactly. A regular expression first cuts the text into words, so that no token ever reaches
across a word boundary (Radford et al. 2019).

`tokenizer.py` gives the same tokens through a library that is about a hundred times faster.

Source: Sennrich, Haddow, Birch 2016, "Neural Machine Translation of Rare Words with Subword Units",
arXiv:1508.07909; Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.2.
"""

import functools
import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from tinygrad_gpt.errors import UsageError

if TYPE_CHECKING:
    import regex

__all__ = ["PATTERN", "decode", "encode", "encode_word", "single_bytes", "train", "well_formed"]

# GPT-2's words: a contraction, letters, digits or other signs with the one space before them, or white space.
# `\s+(?!\S)` leaves the last space of a run to the word that follows. `\s++$` and the `++` change no cut; they
# only spare the matcher from keeping a way back.
PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""

Pair = tuple[int, int]


def single_bytes() -> list[bytes]:
    """Return the first 256 ranks: every single byte, in GPT-2's order (those that print in Latin-1 come first)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [bytes([b]) for b in printable + sorted(set(range(256)) - set(printable))]


def well_formed(text: str) -> str:
    """Return `text` with surrogate pairs joined and each lone surrogate, which UTF-8 cannot hold, as U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def encode(text: str, ranks: Mapping[bytes, int]) -> list[int]:
    """Cut a text into tokens.

    Args:
        text: any string; lone surrogates are replaced (`well_formed`).
        ranks: the rank of each token's bytes; holds at least the 256 single bytes.

    Returns:
        The ranks of the tokens, in the order of the text.

    Source: Sennrich et al. 2016, algorithm 1; the words are GPT-2's (`PATTERN`).
    """
    return [rank for word in _pattern().findall(well_formed(text)) for rank in encode_word(word.encode(), ranks)]


def encode_word(word: bytes, ranks: Mapping[bytes, int]) -> list[int]:
    """Join, while any two neighbours form a token, the two whose token was learned first; leftmost on a tie."""
    if word in ranks:  # most words: the loop would find the same
        return [ranks[word]]
    parts = [bytes([b]) for b in word]
    while len(parts) > 1:
        rank, i = min((ranks.get(a + b, math.inf), i) for i, (a, b) in enumerate(pairwise(parts)))
        if rank == math.inf:
            break
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return [ranks[part] for part in parts]


def decode(ids: Iterable[int], tokens: Sequence[bytes]) -> str:
    """Join tokens back into text; bytes that are no valid UTF-8 become U+FFFD.

    Args:
        ids: ranks, each at least 0 and below `len(tokens)`.
        tokens: the bytes of each token, by rank.
    """
    return b"".join(tokens[i] for i in ids).decode("utf-8", errors="replace")


def train(texts: Iterable[str], vocab_size: int) -> list[bytes]:
    """Learn a vocabulary: join the most frequent pair of neighbours into a new token, again and again.

    A pair is counted inside words only. On a tie the pair of lower ranks comes first, so the result depends on
    how often each word occurs, not on the order of the texts. No token is learned twice, as `a`+`bc` and as
    `ab`+`c`: while a stretch of text shares no token with its surroundings, they have no say in how it is cut,
    so equal stretches are cut alike. For the same reason `encode` finds the tokens that training ended with.

    Args:
        texts: the corpus, read once, one text at a time.
        vocab_size: how many tokens to return, at least 256.

    Returns:
        The bytes of each token by rank: the 256 single bytes, then the joined ones in the order they were
        learned. Fewer than `vocab_size` where every word of the corpus has become one token.

    Raises:
        UsageError: `cannot train a vocabulary (vocab_size 100): the 256 single bytes come first; …`.

    Source: Sennrich et al. 2016, algorithm 1, with pair counts kept up to date instead of recounted.
    """
    if vocab_size < 256:
        raise UsageError(f"cannot train a vocabulary (vocab_size {vocab_size}): the 256 single bytes come first; "
                         "ask for 256 or more")
    tokens = single_bytes()
    corpus = _Corpus(_count_words(texts))
    while len(tokens) < vocab_size and (pair := corpus.most_frequent_pair()):
        corpus.join(pair, new=len(tokens))
        tokens.append(tokens[pair[0]] + tokens[pair[1]])
    return tokens


def _count_words(texts: Iterable[str]) -> Counter[str]:
    """Count each word of the corpus; what follows costs by distinct word, however long the corpus is."""
    words: Counter[str] = Counter()
    for text in texts:
        words.update(match.group() for match in _pattern().finditer(well_formed(text)))
    return words


class _Corpus:
    """The distinct words as lists of ranks, and how often each pair of neighbours occurs in all of them."""

    def __init__(self, word_counts: Mapping[str, int]) -> None:
        rank_of = {byte[0]: rank for rank, byte in enumerate(single_bytes())}
        self.words = [[rank_of[byte] for byte in word.encode()] for word in word_counts]
        self.word_counts = list(word_counts.values())
        self.pair_counts: defaultdict[Pair, int] = defaultdict(int)
        self.words_with: defaultdict[Pair, set[int]] = defaultdict(set)  # may name a word that lost the pair since
        for i, (word, count) in enumerate(zip(self.words, self.word_counts, strict=True)):
            for pair in pairwise(word):
                self.pair_counts[pair] += count
                self.words_with[pair].add(i)
        self.heap = [(-count, pair) for pair, count in self.pair_counts.items()]
        heapq.heapify(self.heap)

    def most_frequent_pair(self) -> Pair | None:
        """Pop the top of the heap; an entry whose count has fallen since goes back with today's count."""
        while self.heap:
            count, pair = heapq.heappop(self.heap)
            today = self.pair_counts[pair]
            if today == -count:
                return pair
            if today:
                heapq.heappush(self.heap, (-today, pair))
        return None

    def join(self, pair: Pair, new: int) -> None:
        """Replace `pair` by the token `new` in every word that holds it, and bring the counts up to date."""
        grown = set()  # only pairs with the new token can become more frequent
        for i in self.words_with.pop(pair):
            count = self.word_counts[i]
            for old in pairwise(self.words[i]):
                self.pair_counts[old] -= count
            self.words[i] = _join_word(self.words[i], pair, new)
            for now in pairwise(self.words[i]):
                self.pair_counts[now] += count
                if new in now:
                    self.words_with[now].add(i)
                    grown.add(now)
        for now in grown:
            heapq.heappush(self.heap, (-self.pair_counts[now], now))


def _join_word(word: list[int], pair: Pair, new: int) -> list[int]:
    """Replace `pair` by `new` from left to right: in `aaa` the pair `aa` is found once."""
    joined = []
    i = 0
    while i < len(word):
        if tuple(word[i : i + 2]) == pair:
            joined.append(new)
            i += 2
        else:
            joined.append(word[i])
            i += 1
    return joined


@functools.cache
def _pattern() -> "regex.Pattern[str]":
    """Compile `PATTERN` once; Python's own `re` knows no classes such as \\p{L}."""
    import regex

    return regex.compile(PATTERN)
