"""Windows of a long text, each with the same window one token later as its targets."""

from pathlib import Path

import numpy as np

from tinygrad_gpt.data.text_files import read_text
from tinygrad_gpt.errors import DataError

__all__ = ["load_text", "random_batch", "token_windows"]


def load_text(path: str | Path) -> str:
    """Read a UTF-8 text file, also as `.txt.xz` or `.txt.gz`.

    Raises:
        DataError: a file that is absent, damaged, empty, or in another encoding.
    """
    text, name = read_text(path)
    if not text.strip():
        raise DataError(f"no text ({name}): the file is empty; give a text file")
    return text


def random_batch(
    tokens: np.ndarray, batch_size: int, n_ctx: int, *, seed: int, step: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw windows at random places; the draw is a function of (seed, step) alone.

    Args:
        tokens: (N,) integers; N of at least n_ctx + 1.
        seed, step: not negative.

    Returns:
        ids and targets, (batch_size, n_ctx) int64; targets are the ids one place further.

    Raises:
        DataError: `text of 10 tokens: …`

    Source: the sampling of nanoGPT, made repeatable step by step.
    """
    _check_length(tokens, n_ctx)
    starts = np.random.default_rng([seed, step]).integers(len(tokens) - n_ctx, size=batch_size)
    windows = tokens[starts[:, None] + np.arange(n_ctx + 1)].astype(np.int64)  # (B, T + 1)
    return windows[:, :-1], windows[:, 1:]


def token_windows(tokens: np.ndarray, n_ctx: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut tokens into consecutive windows, for evaluation; what is left at the end is not used.

    Args:
        tokens: (N,) integers; N of at least n_ctx + 1.

    Returns:
        ids and targets, (W, n_ctx) int64, with W = (N - 1) // n_ctx.

    Raises:
        DataError: `text of 10 tokens: …`
    """
    _check_length(tokens, n_ctx)
    used = (len(tokens) - 1) // n_ctx * n_ctx
    tokens = np.asarray(tokens[:used + 1], np.int64)
    return tokens[:-1].reshape(-1, n_ctx), tokens[1:].reshape(-1, n_ctx)


def _check_length(tokens: np.ndarray, n_ctx: int) -> None:
    if len(tokens) < n_ctx + 1:
        raise DataError(f"text of {len(tokens):,} tokens: a window of {n_ctx} needs {n_ctx + 1}; "
                        "give a longer text, or a shorter context")
