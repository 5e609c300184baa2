"""Windows of a long text, each with the same window one token later as its targets."""

import functools
from pathlib import Path

import numpy as np

from tinygrad_gpt.data.text_files import read_text
from tinygrad_gpt.errors import DataError
from tinygrad_gpt.text import END_OF_TEXT

__all__ = ["consecutive_batch", "hold_out", "load_text", "random_batch", "steps_per_epoch"]


def load_text(path: str | Path) -> str:
    """Read a UTF-8 text file, also as `.txt.xz` or `.txt.gz`.

    Raises:
        DataError: a file that is absent, damaged, empty, or in another encoding.
    """
    text, name = read_text(path)
    if not text.strip():
        raise DataError(f"no text ({name}): the file is empty; give a text file")
    return text


def hold_out(text: str, share: float) -> tuple[str, str]:
    """Cut the last share of a text's characters off, for validation.

    Args:
        share: from 0 to below 1; the book and nanoGPT hold 0.1 back.

    Returns:
        The text to train on, and the text held back.
    """
    end = int((1 - share) * len(text))
    marker = text.find(END_OF_TEXT, max(0, end - len(END_OF_TEXT) + 1), end + len(END_OF_TEXT) - 1)
    if marker != -1:  # never cut the mark between two documents in pieces
        end = min(end, marker)
    return text[:end], text[end:]


def random_batch(
    tokens: np.ndarray, batch_size: int, n_ctx: int, *, seed: int, step: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw windows at random positions; the draw is a function of (seed, step) alone.

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
    return _windows(tokens, starts, n_ctx)


def consecutive_batch(
    tokens: np.ndarray, batch_size: int, n_ctx: int, *, stride: int, seed: int, step: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Take the next of the windows that begin every ``stride`` tokens, reshuffled for each epoch.

    A window comes at most once an epoch; those that would not fill the last batch of an epoch are left out of it,
    others each time. The batch is a function of (seed, step) alone.

    Args:
        tokens: (N,) integers, enough for one batch.
        stride: tokens from one window to the next; n_ctx lets them touch without overlap.
        seed, step: not negative; the epoch is step // `steps_per_epoch`.

    Returns:
        ids and targets, (batch_size, n_ctx) int64; targets are the ids one place further.

    Raises:
        DataError: as `steps_per_epoch`.

    Source: S. Raschka, *Build a Large Language Model (From Scratch)*, chapter 2 (GPTDatasetV1, drop_last=True).
    """
    epoch, place = divmod(step, steps_per_epoch(len(tokens), batch_size, n_ctx, stride))
    order = _epoch_order(len(range(0, len(tokens) - n_ctx, stride)), seed, epoch)
    return _windows(tokens, order[place * batch_size:(place + 1) * batch_size] * stride, n_ctx)


def steps_per_epoch(n_tokens: int, batch_size: int, n_ctx: int, stride: int) -> int:
    """How many whole batches the windows of `consecutive_batch` fill.

    Raises:
        DataError: `text of 100 tokens: 3 windows of 32 + 1, one every 32, do not fill a step of 4; …`
    """
    windows = len(range(0, n_tokens - n_ctx, stride))
    if windows < batch_size:
        raise DataError(f"text of {n_tokens:,} tokens: {windows} windows of {n_ctx} + 1, one every {stride}, do not "
                        f"fill a step of {batch_size}; give a longer text, smaller batches, or a shorter context")
    return windows // batch_size


@functools.lru_cache(maxsize=2)
def _epoch_order(n_windows: int, seed: int, epoch: int) -> np.ndarray:
    """The order of the windows in an epoch; kept, because every step of the epoch asks for it."""
    return np.random.default_rng([seed, epoch]).permutation(n_windows)


def _windows(tokens: np.ndarray, starts: np.ndarray, n_ctx: int) -> tuple[np.ndarray, np.ndarray]:
    windows = tokens[starts[:, None] + np.arange(n_ctx + 1)].astype(np.int64)  # (B, T + 1)
    return windows[:, :-1], windows[:, 1:]


def _check_length(tokens: np.ndarray, n_ctx: int) -> None:
    if len(tokens) < n_ctx + 1:
        raise DataError(f"text of {len(tokens):,} tokens: a window of {n_ctx} needs {n_ctx + 1}; "
                        "give a longer text, or a shorter context")
