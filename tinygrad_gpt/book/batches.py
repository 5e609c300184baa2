"""The windows of the book's data set, and the batches of its training loop."""

import numpy as np

from tinygrad_gpt.errors import DataError
from tinygrad_gpt.random import TorchStream

__all__ = ["book_batches", "token_windows"]


def book_batches(n: int, batch_size: int, *, seed: int, epochs: int) -> list[list[np.ndarray]]:
    """The batches of the book's training loop: those of PyTorch's shuffled loader after `torch.manual_seed(seed)`.

    What does not fill a batch is left out. Every 50th step, and at the end of an epoch, the loop looks at its two
    loaders, training and validation, and so draws random numbers that move the order of later epochs.

    Source: S. Raschka, *Build a Large Language Model (From Scratch)*, section 6.7, `train_classifier_simple`.
    """
    stream, result, step = TorchStream(seed), [], 0
    for _ in range(epochs):
        order = stream.loader_order(n, shuffle=True)
        result.append([order[i:i + batch_size] for i in range(0, n - batch_size + 1, batch_size)])
        looks = sum(s % 50 == 0 for s in range(step, step + len(result[-1]))) + 1
        stream.long_words(3 * looks)  # two for the shuffled loader, one for the other
        step += len(result[-1])
    return result


def token_windows(tokens: np.ndarray, n_ctx: int) -> tuple[np.ndarray, np.ndarray]:
    """Consecutive windows of a text, as those of the book's `GPTDatasetV1` with a stride of ``max_length``.

    Args:
        tokens: (N,) integers; N of at least n_ctx + 1. What is left at the end is not used.

    Returns:
        ids and targets, (W, n_ctx) int64, with W = (N - 1) // n_ctx.

    Raises:
        DataError: "text of 8 tokens: a window of 8 needs 9; …".

    Source: S. Raschka, *Build a Large Language Model (From Scratch)*, section 2.6.
    """
    if len(tokens) < n_ctx + 1:
        raise DataError(f"text of {len(tokens):,} tokens: a window of {n_ctx} needs {n_ctx + 1}; give a longer text, "
                        "or a shorter context")
    used = (len(tokens) - 1) // n_ctx * n_ctx
    tokens = np.asarray(tokens[:used + 1], np.int64)
    return tokens[:-1].reshape(-1, n_ctx), tokens[1:].reshape(-1, n_ctx)
