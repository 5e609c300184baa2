"""The tokens of a text in a file of their own, so that a text is tokenised once and need not fit into memory."""

import hashlib
import io
from pathlib import Path

import numpy as np

from tinygrad_gpt.errors import DataError
from tinygrad_gpt.files import write_atomic

__all__ = ["open_tokens", "save_tokens"]


def save_tokens(path: str | Path, tokens: np.ndarray) -> str:
    """Write token ids as a NumPy file.

    Args:
        tokens: (N,) uint16 or uint32.

    Returns:
        The sha256 of the file.

    Raises:
        ResourceError, TinygradError: as `files.write_atomic`.
    """
    image = io.BytesIO()
    np.save(image, tokens, allow_pickle=False)
    digest = hashlib.sha256(image.getbuffer()).hexdigest()
    write_atomic(path, image.getbuffer(), verify=lambda temporary: _check(temporary, digest))
    return digest


def open_tokens(path: str | Path, digest: str) -> np.ndarray:
    """Map a file of `save_tokens` into memory, after its digest was checked; pages are read when they are used.

    Args:
        digest: what `save_tokens` returned.

    Returns:
        ids (N,), read-only.

    Raises:
        DataError: `cannot read the tokens (run/tokens.npy): …` where the file is missing or changed.
    """
    try:
        _check(path, digest)
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise _refusal(path, (error.strerror or str(error)).lower()) from error


def _check(path: str | Path, digest: str) -> None:
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != digest:
        raise _refusal(path, f"its sha256 is {found[:16]}…, not {digest[:16]}…: the file is damaged")


def _refusal(path: str | Path, why: str) -> DataError:
    return DataError(f"cannot read the tokens ({path}): {why}; start a new run in another folder")
