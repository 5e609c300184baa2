"""The batches of the book's training loop."""

import numpy as np

from tinygrad_gpt.book.torch_stream import TorchStream

__all__ = ["book_batches"]


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
