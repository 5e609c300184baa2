"""A group of processes that train one model together, and the group of one process, where nothing is sent.

Every process runs the same program on its own rows of each batch. Each function here must be called by all of them, in
the same order.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tinygrad_gpt.backend import Array
from tinygrad_gpt.errors import TinygradError, UsageError
from tinygrad_gpt.files import only_reading

__all__ = ["Group", "current_group", "in_group"]


class Group:
    """One process alone; `mpi.py` has the group of several.

    Attributes:
        rank: number of this process, from 0. Rank 0 writes files and prints.
        size: number of processes.
        shards: whether each process keeps only its share of the optimiser's moments.
        local: number of processes on this machine.
    """

    rank, size, shards, local = 0, 1, False, 1

    def slices(self, count: int) -> list[slice]:
        """The rows of each rank of ``count``: neighbours, and as many for each as can be."""
        return [slice(count * rank // self.size, count * (rank + 1) // self.size) for rank in range(self.size)]

    def own(self, count: int) -> slice:
        """The rows of this rank."""
        return self.slices(count)[self.rank]

    def total(self, array: np.ndarray) -> np.ndarray:
        """The sum of an array of the host over the ranks, the same bits on each."""
        return array

    def start_total(self, array: Array) -> Callable[[], None]:
        """Begin to replace a contiguous array, of any backend, by its sum over the ranks.

        Returns:
            A function that waits until that is done.
        """
        return lambda: None

    def gather(self, array: Array) -> None:
        """Fill a contiguous array (N,), of which each rank has its `own` slice, with the slices of the others."""

    def collect(self, own: np.ndarray, count: int) -> np.ndarray:
        """The slices of all ranks of an array (count,) of the host, of which ``own`` is that of this rank.

        Only rank 0 gets them; the others get zeros.
        """
        return own

    def copy_from(self, rank: int, array: np.ndarray) -> None:
        """Replace an array of the host by that of a rank."""

    def everyone(self, value: Any) -> list[Any]:
        """A small value of each rank, in the order of the ranks."""
        return [value]

    def largest(self, value: int) -> int:
        """The largest of the values that the ranks have."""
        return value

    def wait(self) -> None:
        """Return when all ranks are here."""

    def check_same(self, values: dict[str, Any], kind: type[TinygradError], where: str) -> None:
        """Refuse ranks that differ.

        Args:
            values: what must be the same, by name.
            kind: of the error.
            where: a place for the message.

        Raises:
            TinygradError: of that kind, "ranks differ (settings): seed is 124 on rank 1 and 123 on rank 0; …".
        """
        first, *others = self.everyone(values)
        for rank, other in enumerate(others, start=1):
            for name in (*first, *(name for name in other if name not in first)):
                if other.get(name) != first.get(name):
                    raise kind(f"ranks differ ({where}): {name} is {_short(other.get(name))} on rank {rank} and "
                               f"{_short(first.get(name))} on rank 0; start all with the same command, data and "
                               "version")

    def check_rows(self, count: int) -> None:
        """Refuse more ranks than rows of a batch.

        Raises:
            UsageError: "more processes than rows (mpiexec): a batch has 2 and there are 4 processes; …".
        """
        if count < self.size:
            raise UsageError(f"more processes than rows (mpiexec): a batch has {count:,} and there are {self.size:,} "
                             "processes; start fewer, or take larger batches")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


_ALONE = Group()
_group = contextvars.ContextVar("group", default=_ALONE)

current_group = _group.get  # returns the group in which this thread computes


@contextlib.contextmanager
def in_group(group: Group) -> Iterator[Group]:
    """Compute as a member of a group in this block; only rank 0 writes files in it."""
    token = _group.set(group)
    try:
        with only_reading() if group.rank else contextlib.nullcontext():
            yield group
    finally:
        _group.reset(token)
