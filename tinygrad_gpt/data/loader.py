"""Batches of examples, with the names of `torch.utils.data` and in its order."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_gpt import ops
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import DataError, UsageError
from tinygrad_gpt.random import default_generator

__all__ = ["DataLoader", "Dataset", "default_collate"]


class Dataset:
    """Examples by number: a class of its kind defines `__getitem__` and `__len__`."""

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} defines no __getitem__")


class DataLoader:
    """Batches of a data set, anew in each pass.

    Args:
        dataset: anything with `__getitem__` and `__len__`.
        batch_size: examples in a batch.
        shuffle: draw a new order for each pass. It is PyTorch's order after the same `manual_seed`.
        num_workers: 0; examples are read in this process.
        collate_fn: what makes a batch of a list of examples; None: `default_collate`.
        drop_last: leave out a last batch that is smaller than the others.

    Raises:
        UsageError: "DataLoader: batch_size is 0; give a whole number from 1 on".

    Source: torch.utils.data.DataLoader.
    """

    def __init__(self, dataset: Any, batch_size: int = 1, shuffle: bool = False, *, num_workers: int = 0,
                 collate_fn: Callable[[list], Any] | None = None, drop_last: bool = False):
        if not isinstance(batch_size, int) or batch_size < 1:
            raise UsageError(f"DataLoader: batch_size is {batch_size!r}; give a whole number from 1 on")
        if num_workers != 0:
            raise UsageError(f"DataLoader: num_workers is {num_workers!r}; give 0: one process reads the examples")
        if shuffle and len(dataset) == 0:
            raise DataError("DataLoader: the data set is empty, so there is nothing to shuffle; give it examples")
        self.dataset, self.batch_size, self.shuffle, self.num_workers = dataset, batch_size, shuffle, num_workers
        self.collate_fn, self.drop_last = collate_fn or default_collate, drop_last

    def __len__(self) -> int:
        """Number of batches in a pass."""
        n = len(self.dataset)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        default_generator.long_words(1)  # PyTorch's seed of worker processes
        return self._batches()

    def _batches(self) -> Iterator[Any]:
        n = len(self.dataset)
        order = default_generator.sampler_order(n).tolist() if self.shuffle else range(n)
        for i in range(len(self)):
            yield self.collate_fn([self.dataset[k] for k in order[i * self.batch_size:(i + 1) * self.batch_size]])


def default_collate(batch: Sequence[Any]) -> Any:
    """Make a batch of examples: tensors and arrays are stacked, numbers become a tensor, texts stay a list.

    Examples that are tuples, lists or dicts give a list or dict of batches, one for each field.

    Raises:
        DataError: "default_collate: examples are of type 'set'; …", or of different lengths.

    Source: torch.utils.data.default_collate.
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return ops.stack(*batch)
    if isinstance(first, np.ndarray | np.generic | bool | int | float):
        return Tensor(np.stack([np.asarray(example) for example in batch]))
    if isinstance(first, str | bytes):
        return list(batch)
    if isinstance(first, Mapping):
        return {name: default_collate([example[name] for example in batch]) for name in first}
    if not isinstance(first, Sequence):
        raise DataError(f"default_collate: examples are of type {type(first).__name__!r}; give tensors, arrays, "
                        "numbers, texts, or tuples or dicts of them, or another collate_fn")
    if len({len(example) for example in batch}) > 1:
        raise DataError("default_collate: the examples of a batch have different lengths; pad them, or give a "
                        "collate_fn that does")
    return [default_collate(field) for field in zip(*batch, strict=True)]
