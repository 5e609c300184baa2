"""Batches of texts of about the same length, with little padding."""

from collections.abc import Sequence

import numpy as np

from tinygrad_gpt.errors import DataError, UsageError

__all__ = ["ALL", "length_batches", "pad", "token_batches", "truncate"]

ALL = slice(None)  # rows of a batch
WINDOW = 24  # batches that are sorted together: more wastes less padding, fewer mixes the lengths better


def length_batches(
    lengths: Sequence[int] | np.ndarray, batch_size: int, *, seed: int, epoch: int, shuffle: bool = True,
) -> list[np.ndarray]:
    """Put every sample into one batch, together with samples of about its length.

    The samples are shuffled, sorted by length within windows of 24 batches, cut, and the batches shuffled.

    Args:
        lengths: (N,) lengths in tokens.
        batch_size: samples a batch, 1 or more; one batch is smaller when N is not a multiple.
        seed, epoch: not negative; the order is a function of these two, so a resumed run continues it.
        shuffle: False sorts all samples by length, for evaluation.

    Returns:
        Arrays of indices into `lengths`, int64.

    Raises:
        UsageError: `batch_size 0: …`
    """
    if batch_size < 1:
        raise UsageError(f"batch_size {batch_size}: a batch holds at least one sample; try 8")
    lengths = np.asarray(lengths)
    if not shuffle:
        return _cut(np.arange(len(lengths)), lengths, batch_size)
    generator = np.random.default_rng([seed, epoch])
    order, window = generator.permutation(len(lengths)), WINDOW * batch_size
    batches = [batch for start in range(0, len(order), window)
               for batch in _cut(order[start:start + window], lengths, batch_size)]
    return [batches[i] for i in generator.permutation(len(batches))]


def token_batches(lengths: np.ndarray, most: int) -> list[np.ndarray]:
    """Put every sample into one batch of at most ``most`` tokens, padding included; a longer sample is alone in one.

    Args:
        lengths: (N,) lengths in tokens.
        most: tokens of a batch.

    Returns:
        Arrays of indices into ``lengths``, int64, from the shortest sample to the longest.
    """
    order = np.argsort(lengths, kind="stable")
    batches, start = [], 0
    for end, length in enumerate(lengths[order], start=1):
        if (end - start) * length > most and end - start > 1:
            batches.append(order[start:end - 1])
            start = end - 1
    return [*batches, order[start:]] if len(order) else []


def _cut(rows: np.ndarray, lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Batches of the rows, sorted by length."""
    rows = rows[np.argsort(lengths[rows], kind="stable")]
    return [rows[i:i + batch_size] for i in range(0, len(rows), batch_size)]


def pad(token_lists: Sequence[Sequence[int]], pad_id: int, width: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Make one array of token lists, padded at the end to the longest of them, or further, to ``width``.

    Returns:
        ids (B, T) int64, and lengths (B,) int64.

    Raises:
        DataError: an empty list: it has no last token to read the answer at.
    """
    lengths = np.array([len(tokens) for tokens in token_lists], np.int64)
    if lengths.size == 0 or lengths.min() == 0:
        raise DataError("pad: a text without tokens; leave empty texts out")
    ids = np.full((len(lengths), max(width, lengths.max())), pad_id, np.int64)  # (B, T)
    for row, tokens in zip(ids, token_lists, strict=True):
        row[:len(tokens)] = tokens
    return ids, lengths


def truncate(token_lists: Sequence[list[int]], n_ctx: int, tail: int = 0) -> tuple[list[list[int]], int]:
    """Keep `n_ctx` tokens of every list: the first ones, and the last ``tail``; what is between them is lost.

    Returns:
        The lists, and how many of them were cut.
    """
    kept = [tokens if len(tokens) <= n_ctx else tokens[:n_ctx - tail] + tokens[len(tokens) - tail:]
            for tokens in token_lists]
    return kept, sum(len(tokens) > n_ctx for tokens in token_lists)
