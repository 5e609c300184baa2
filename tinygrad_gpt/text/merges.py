"""The merges of byte-pair encoding in files: the order in which tokens were learned, each joined of two earlier ones.

    #version: 0.2
    Ġ t
    Ġ a
    h e
"""

import lzma
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinygrad_gpt.errors import CheckpointError
from tinygrad_gpt.text.bpe import encode_word, single_bytes
from tinygrad_gpt.text.vocabulary import digest, from_printable, printable, read_bytes, refusal

__all__ = ["GPT2_MERGES", "SHIPPED", "Merge", "merge", "merges_of", "parsed", "shipped", "to_text", "tokens_of"]

SHIPPED = Path(__file__).with_name("gpt2_merges.txt.xz")
GPT2_MERGES = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"  # sha256 of its content
GPT2_DIGEST = "705040e4d711a119f5af5f24c1e47f6d"  # of its tokens
MAX_WORK = 20_000_000  # sum of the squares of the lengths of the tokens; GPT-2's is 3 million

Merge = tuple[str, bytes, bytes]
"""Where a merge is in its file, and the two tokens that it joins."""


def shipped() -> list[bytes]:
    """Return the 50,256 tokens of GPT-2's own vocabulary, from the file in this folder."""
    return tokens_of(parsed(lzma.decompress(read_bytes(SHIPPED)), SHIPPED), SHIPPED)


def merges_of(tokens: Sequence[bytes]) -> list[bytes]:
    """Find the merge that made each token behind the 256 single bytes: the ranks before it leave two parts of it.

    Returns:
        The left part of each; the right part is the rest of the token.

    Raises:
        CheckpointError: `cannot write merges (' the'): …` where the ranks before a token leave other than two parts.
    """
    if list(tokens[:256]) != single_bytes():
        raise CheckpointError("cannot write merges (ids 0 to 255): they are not the single bytes in GPT-2's order; "
                              "keep the vocabulary in a checkpoint of this package")
    ranks = {token: rank for rank, token in enumerate(tokens[:256])}
    lefts = []
    for token in tokens[256:]:
        parts = encode_word(token, ranks)
        if len(parts) != 2:
            raise CheckpointError(f"cannot write merges ({printable(token)!r}): the tokens before it cut it into "
                                  f"{len(parts)} parts, not 2; keep the vocabulary in a checkpoint of this package")
        lefts.append(tokens[parts[0]])
        ranks[token] = len(ranks)
    return lefts


def tokens_of(merges: Sequence[Merge], path: Path) -> list[bytes]:
    """Return the tokens by rank: the 256 single bytes, then the result of each merge.

    Args:
        merges: as `parsed` returns them.
        path: where they come from, for messages.

    Raises:
        CheckpointError: `cannot read the vocabulary (merges.txt): line 7 joins tokens that no line before it made, …`.
    """
    tokens = single_bytes()
    known, lengths, work = set(tokens), [], 0
    for where, left, right in merges:
        work += (len(left) + len(right)) ** 2
        if work > MAX_WORK:  # each line may double the length of a token
            raise refusal(path, f"{where} makes its tokens too long", "use a vocabulary of words")
        if left not in known or right not in known or left + right in known:
            raise refusal(path, f"{where} joins tokens that nothing before it made, or makes one again")
        known.add(left + right)
        tokens.append(left + right)
        lengths.append(len(left))
    if digest(tokens) != GPT2_DIGEST:  # for GPT-2's own it holds, and takes a second to check
        for token, length, left in zip(tokens[256:], lengths, merges_of(tokens), strict=True):
            if length != len(left):
                raise refusal(path, f"it makes {printable(token)!r} otherwise than its earlier merges do",
                              "use a vocabulary of byte-pair encoding as it was trained")
    return tokens


def parsed(text: bytes, path: Path) -> list[Merge]:
    """Return the merges in the content of a merges.txt.

    Raises:
        CheckpointError: `cannot read the vocabulary (merges.txt): line 7 is not two tokens and a space; …`.
    """
    lines = text.decode(errors="replace").split("\n")
    return [merge(f"line {number}", line.removesuffix("\r").split(" "), path)
            for number, line in enumerate(lines, start=1)
            if not (number == 1 and line.startswith("#version")) and not (number == len(lines) and not line)]


def merge(where: str, pair: Any, path: Path) -> Merge:
    """Return one merge from the two texts of a file.

    Raises:
        CheckpointError: `cannot read the vocabulary (merges.txt): line 7 is not two tokens and a space; …`.
    """
    try:
        left, right = (from_printable(part) for part in pair)
    except (TypeError, ValueError, KeyError):
        raise refusal(path, f"{where} is not two tokens and a space") from None
    return where, left, right


def to_text(tokens: Sequence[bytes]) -> bytes:
    """Return the content of the merges.txt of tokens by rank.

    Raises:
        CheckpointError: as in `merges_of`.
    """
    lines = [f"{printable(left)} {printable(token[len(left):])}"
             for token, left in zip(tokens[256:], merges_of(tokens), strict=True)]
    return "\n".join(["#version: 0.2", *lines, ""]).encode()
