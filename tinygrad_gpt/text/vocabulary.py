"""Vocabularies in files: one JSON file of our own, and the pair of files that GPT-2 was published with.

A vocabulary is a list of tokens, each a byte string; its rank is its place in the list. In the files the bytes are
written as GPT-2 writes them: a byte that prints in Latin-1 as itself, any other as a letter from U+0100 on, so a
space is `Ġ` and the token ` the` is `Ġthe`.
"""

import functools
import hashlib
import json
import lzma
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tinygrad_gpt.errors import CheckpointError
from tinygrad_gpt.text.bpe import encode_word, single_bytes

__all__ = [
    "digest", "has_merges", "is_shipped", "merges_of", "problem", "read_content", "read_json", "read_merges",
    "refusal", "shipped", "to_json", "to_merges",
]

FORMAT = "tinygrad_gpt byte-level BPE 1"
MAX_BYTES = 16 * 2**20  # GPT-2's largest file is 1 MB; whatever is larger than this is no vocabulary

# The names OpenAI and Hugging Face gave the same two files.
MERGES, IDS = ("vocab.bpe", "merges.txt"), ("encoder.json", "vocab.json")
SHIPPED = Path(__file__).with_name("gpt2_merges.txt.xz")
GPT2_MERGES = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"  # sha256


def problem(tokens: Sequence[bytes]) -> str | None:
    """Say why `tokens` is no byte-level vocabulary, or None where it is one."""
    if not all(isinstance(token, bytes) and token for token in tokens):
        return "a token is empty or not bytes"
    if len(set(tokens)) < len(tokens):
        return "it has a token twice"
    missing = set(single_bytes()).difference(tokens)
    if missing:
        return f"{len(missing)} of the 256 single bytes are missing, the first is {min(missing).hex()}"
    return None


def digest(tokens: Iterable[bytes]) -> str:
    """Return the blake2b digest of the tokens and their lengths, 32 hexadecimal digits."""
    hasher = hashlib.blake2b(digest_size=16)
    for token in tokens:
        hasher.update(len(token).to_bytes(4, "little") + token)
    return hasher.hexdigest()


def to_json(tokens: Sequence[bytes]) -> bytes:
    """Return the file that `read_json` reads."""
    content = {"format": FORMAT, "digest": digest(tokens), "tokens": [_printable(token) for token in tokens]}
    return json.dumps(content, ensure_ascii=False, indent=0).encode() + b"\n"


def read_json(path: str | Path) -> list[bytes]:
    """Read a vocabulary that `to_json` wrote.

    Raises:
        CheckpointError: `cannot read the vocabulary (vocab.json): …` where the file is missing, foreign or damaged.
    """
    content = read_content(path)
    if content.get("format") != FORMAT:
        raise refusal(path, f"it does not say 'format: {FORMAT}'", "give a file that Tokenizer.save wrote")
    texts = content.get("tokens")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise refusal(path, "'tokens' is not a list of strings")
    try:
        tokens = [_from_printable(text) for text in texts]
    except KeyError as error:
        raise refusal(path, f"{error} stands for no byte") from None
    if digest(tokens) != content.get("digest"):
        raise refusal(path, f"its digest is {digest(tokens)}, not {content.get('digest')!r:.60}")
    if why := problem(tokens):
        raise refusal(path, why)
    return tokens


def read_content(path: str | Path) -> dict[str, Any]:
    """Read the JSON object in a vocabulary's file, whichever it is.

    Raises:
        CheckpointError: `cannot read the vocabulary (vocab.json): …` where the file is missing or holds no object.
    """
    content = _parse_json(_read(Path(path)), path)
    if not isinstance(content, dict):
        raise refusal(path, "it does not say 'format: …'", "give a file that Tokenizer.save wrote")
    return content


def read_merges(folder: str | Path) -> list[bytes]:
    """Read the tokens of any model whose vocabulary is built like GPT-2's.

    That is: the single bytes, then the result of each merge in the order of the merges, `<|endoftext|>` last.

    Args:
        folder: holds `vocab.bpe` and `encoder.json`, or `merges.txt` and `vocab.json`. Where it does not exist,
            "gpt2" is GPT-2's own vocabulary, which ships with the package.

    Raises:
        CheckpointError: `cannot read the vocabulary (model/vocab.json): …` where a file is missing or damaged, or
            the vocabulary is of another kind.

    Source: https://github.com/openai/gpt-2, `encoder.py`.
    """
    if is_shipped(folder):
        return shipped()
    paths = _merges_and_ids(Path(folder))
    merges, ids = _read(paths[0]), _read(paths[1])
    found = _tokens(merges, paths[0])
    if _parse_json(ids, paths[1]) != _ids([token for token, _ in found]):
        raise refusal(paths[1], f"its ids are not the order of {paths[0].name} with <|endoftext|> last",
                      "use a vocabulary that was made as GPT-2's")
    tokens = [token for token, _ in found]
    if hashlib.sha256(merges).hexdigest() != GPT2_MERGES:  # for GPT-2's own it holds, and takes a second to check
        for (token, length), left in zip(found[256:], merges_of(tokens), strict=True):
            if length != len(left):
                raise refusal(paths[0], f"it makes {_printable(token)!r} otherwise than its earlier merges do",
                              "use a vocabulary of byte-pair encoding as it was trained")
    return tokens


def shipped() -> list[bytes]:
    """The 50,256 tokens of GPT-2's own vocabulary, from the file in this folder."""
    return [token for token, _ in _tokens(lzma.decompress(_read(SHIPPED)), SHIPPED)]


def is_shipped(name: str | Path) -> bool:
    """Whether a name means GPT-2's own vocabulary: `gpt2`, where no file or folder has that name."""
    return str(name) == "gpt2" and not Path(name).exists()


def has_merges(folder: str | Path) -> bool:
    """Whether a folder has one of the two files that `read_merges` needs."""
    return any(path.exists() for path in _merges_and_ids(Path(folder)))


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
            raise CheckpointError(f"cannot write merges ({_printable(token)!r}): the tokens before it cut it into "
                                  f"{len(parts)} parts, not 2; keep the vocabulary in a checkpoint of this package")
        lefts.append(tokens[parts[0]])
        ranks[token] = len(ranks)
    return lefts


def to_merges(tokens: Sequence[bytes]) -> dict[str, bytes]:
    """Return the files that `read_merges` and `transformers` read, by name: vocab.json and merges.txt.

    Raises:
        CheckpointError: as in `merges_of`.
    """
    lines = ["#version: 0.2"]
    for token, left in zip(tokens[256:], merges_of(tokens), strict=True):
        lines.append(f"{_printable(left)} {_printable(token[len(left):])}")
    return {"vocab.json": json.dumps(_ids(tokens)).encode(), "merges.txt": "\n".join([*lines, ""]).encode()}


def _ids(tokens: Sequence[bytes]) -> dict[str, int]:
    return {_printable(token): rank for rank, token in enumerate(tokens)} | {"<|endoftext|>": len(tokens)}


def _tokens(merges: bytes, path: Path) -> list[tuple[bytes, int]]:
    """The tokens by rank, each with the length of its left part, from the content of merges.txt."""
    found = [(byte, 1) for byte in single_bytes()]
    known = {byte for byte, _ in found}
    lines = merges.decode(errors="replace").split("\n")
    for number, line in enumerate(lines, start=1):
        if (number == 1 and line.startswith("#version")) or (number == len(lines) and not line):
            continue
        try:
            left, right = (_from_printable(part) for part in line.removesuffix("\r").split(" "))
        except (ValueError, KeyError):
            raise refusal(path, f"line {number} is not two tokens and a space") from None
        if left not in known or right not in known or left + right in known:
            raise refusal(path, f"line {number} joins tokens that no line before it made, or makes one again")
        known.add(left + right)
        found.append((left + right, len(left)))
    return found


def _merges_and_ids(folder: Path) -> tuple[Path, Path]:
    """The two files, by the names of which one is there at least."""
    pairs = [(folder / merges, folder / ids) for merges, ids in zip(MERGES, IDS, strict=True)]
    return next((pair for pair in pairs if pair[0].exists() or pair[1].exists()), pairs[-1])


def _read(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise refusal(path, "it is not a regular file", "check the path")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise refusal(path, (getattr(error, "strerror", None) or "no such file").lower(), "check the path") from None
    if len(data) > MAX_BYTES:
        raise refusal(path, f"it is larger than {MAX_BYTES >> 20} MiB")
    return data


def _parse_json(data: bytes, path: str | Path) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise refusal(path, "it is not JSON") from None


def refusal(path: str | Path, why: str, remedy: str = "fetch or save the file again") -> CheckpointError:
    """The error that says why a vocabulary's file cannot be read."""
    return CheckpointError(f"cannot read the vocabulary ({path}): {why}; {remedy}")


@functools.cache
def _byte_of() -> dict[str, int]:
    """Map each character of the files to its byte."""
    order = b"".join(single_bytes())
    n_visible = order.index(0)  # the printable bytes come first and represent themselves
    return {chr(byte if i < n_visible else 0x100 + i - n_visible): byte for i, byte in enumerate(order)}


@functools.cache
def _character_of() -> dict[int, str]:
    return {byte: character for character, byte in _byte_of().items()}


def _from_printable(text: str) -> bytes:
    return bytes(_byte_of()[character] for character in text)


def _printable(token: bytes) -> str:
    return "".join(_character_of()[byte] for byte in token)
