"""Vocabularies in files: one JSON file of our own, and what all files of vocabularies have in common.

A vocabulary is a list of tokens, each a byte string; its rank is its place in the list. In the files the bytes are
written as GPT-2 writes them: a byte that prints in Latin-1 as itself, any other as a letter from U+0100 on, so a
space is `Ġ` and the token ` the` is `Ġthe`.
"""

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_gpt.errors import CheckpointError
from tinygrad_gpt.text.bpe import single_bytes
from tinygrad_gpt.text.layout import Layout

__all__ = [
    "digest", "from_printable", "parse_json", "printable", "problem", "read_bytes", "read_content", "read_format",
    "read_json", "refusal", "to_json", "tokens_of",
]

FORMAT = "tinygrad_gpt byte-level BPE 1"
MAX_BYTES = 16 * 2**20  # GPT-2's largest file is 1 MB; whatever is larger than this is no vocabulary


def problem(tokens: Sequence[bytes], layout: Layout) -> str | None:
    """Say why these are no byte-level vocabulary, or None where they are one."""
    if not all(isinstance(token, bytes) and token for token in tokens):
        return "a token is empty or not bytes"
    if len(set(tokens)) < len(tokens):
        return "it has a token twice"
    missing = set(single_bytes()).difference(tokens)
    if missing:
        return f"{len(missing)} of the 256 single bytes are missing, the first is {min(missing).hex()}"
    if len(layout.ids) != len(tokens):
        return f"{len(tokens)} tokens have {len(layout.ids)} ids"
    return layout.problem()


def digest(tokens: Sequence[bytes], layout: Layout | None = None) -> str:
    """Return the blake2b digest of the tokens and their lengths, and of a layout unlike GPT-2's; 32 hex digits."""
    hasher = hashlib.blake2b(digest_size=16)
    for token in tokens:
        hasher.update(len(token).to_bytes(4, "little") + token)
    if layout is not None and layout != Layout.usual(len(tokens)):
        hasher.update(json.dumps(layout.to_json(), sort_keys=True).encode())
    return hasher.hexdigest()


def to_json(tokens: Sequence[bytes], layout: Layout | None = None) -> bytes:
    """Return the file that `read_json` reads."""
    texts = [printable(token) for token in tokens]
    content: dict[str, Any] = {"format": FORMAT, "digest": digest(tokens, layout), "tokens": texts}
    if layout is not None and layout != Layout.usual(len(tokens)):
        content["layout"] = layout.to_json()
    return json.dumps(content, ensure_ascii=False, indent=0).encode() + b"\n"


def read_json(path: str | Path) -> tuple[list[bytes], Layout]:
    """Read a vocabulary that `to_json` wrote.

    Returns:
        The tokens by rank, and their layout.

    Raises:
        CheckpointError: `cannot read the vocabulary (vocab.json): …` where the file is missing, foreign or damaged.
    """
    content = read_format(path, FORMAT, "Tokenizer")
    texts = content.get("tokens")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise refusal(path, "'tokens' is not a list of strings")
    try:
        tokens = [from_printable(text) for text in texts]
    except KeyError as error:
        raise refusal(path, f"{error} stands for no byte") from None
    try:
        layout = Layout.from_json(content["layout"]) if "layout" in content else Layout.usual(len(tokens))
    except CheckpointError as error:
        raise refusal(path, str(error)) from None
    found = digest(tokens, layout)
    if found != content.get("digest"):
        raise refusal(path, f"its digest is {found}, not {content.get('digest')!r:.60}")
    if why := problem(tokens, layout):
        raise refusal(path, why)
    return tokens, layout


def read_content(path: str | Path) -> dict[str, Any]:
    """Read the JSON object in a vocabulary's file, whichever it is.

    Raises:
        CheckpointError: `cannot read the vocabulary (vocab.json): …` where the file is missing or holds no object.
    """
    content = parse_json(read_bytes(Path(path)), path)
    if not isinstance(content, dict):
        raise refusal(path, "it does not say 'format: …'", "give a file that Tokenizer.save wrote")
    return content


def read_format(path: str | Path, expected: str, kind: str) -> dict[str, Any]:
    """The same, of a file of one kind.

    Args:
        expected: what its "format" says.
        kind: name of the class that writes such files.

    Raises:
        CheckpointError: as `read_content`, and where the format is another.
    """
    content = read_content(path)
    if content.get("format") != expected:
        raise refusal(path, f"it does not say 'format: {expected}'", f"give a file that {kind}.save wrote")
    return content


def read_bytes(path: Path) -> bytes:
    """Return the content of a file of at most 16 MiB.

    Raises:
        CheckpointError: `cannot read the vocabulary (vocab.json): no such file or directory; check the path`.
    """
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


def parse_json(data: bytes, path: str | Path) -> Any:
    """Return what JSON holds.

    Raises:
        CheckpointError: `cannot read the vocabulary (vocab.json): it is not JSON; …`.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise refusal(path, "it is not JSON") from None


def refusal(path: str | Path, why: str, remedy: str = "fetch or save the file again") -> CheckpointError:
    """The error that says why a vocabulary's file cannot be read."""
    return CheckpointError(f"cannot read the vocabulary ({path}): {why}; {remedy}")


def tokens_of(arrays: Mapping[str, np.ndarray], settings: str = "layout") -> list[bytes]:
    """Return the tokens that a checkpoint holds as the arrays `token_bytes` and `token_lengths`.

    Args:
        settings: the name of a further array, which is JSON.

    Raises:
        CheckpointError: `cannot use the vocabulary (token_lengths): …` where the arrays do not fit.
    """
    expected = {"token_bytes": np.uint8, "token_lengths": np.uint32}
    for name, dtype in (expected | {settings: np.uint8} if settings in arrays else expected).items():
        array = arrays.get(name)
        if array is None or array.ndim != 1 or array.dtype != dtype:
            found = "missing" if array is None else f"{array.dtype} of shape {array.shape}"
            raise CheckpointError(f"cannot use the vocabulary ({name}): it is {found}, not a row of "
                                  f"{np.dtype(dtype)}; the checkpoint is damaged or not ours")
    data, ends = arrays["token_bytes"].tobytes(), np.cumsum(arrays["token_lengths"], dtype=np.int64).tolist()
    if len(data) != (ends[-1] if ends else 0):
        raise CheckpointError(f"cannot use the vocabulary (token_lengths): the lengths do not add up to the "
                              f"{len(data)} bytes of token_bytes; the checkpoint is damaged or not ours")
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@functools.cache
def _byte_of() -> dict[str, int]:
    """Map each character of the files to its byte."""
    order = b"".join(single_bytes())
    n_visible = order.index(0)  # the printable bytes come first and represent themselves
    return {chr(byte if i < n_visible else 0x100 + i - n_visible): byte for i, byte in enumerate(order)}


@functools.cache
def _character_of() -> dict[int, str]:
    return {byte: character for character, byte in _byte_of().items()}


def from_printable(text: str) -> bytes:
    """Return the bytes that a file of GPT-2's kind writes as `text`; KeyError where it writes no byte so."""
    return bytes(_byte_of()[character] for character in text)


def printable(token: bytes) -> str:
    """Return the text as which a file of GPT-2's kind writes bytes."""
    return "".join(_character_of()[byte] for byte in token)
