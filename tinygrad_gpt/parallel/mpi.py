"""A group of processes that `mpiexec` started, by mpi4py."""

import pickle
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_gpt.backend import Array, default_backend
from tinygrad_gpt.parallel.ending import check_others
from tinygrad_gpt.parallel.group import Group
from tinygrad_gpt.parallel.launch import communicator, launched

__all__ = ["MpiGroup", "connect"]

SPIN = 0.001  # seconds in which a process looks again at once before it lets others have the core

_under_way: list[Any] = []  # exchanges, which hold their arrays: MPI writes into them even when a run has failed


class MpiGroup(Group):
    """Processes that send arrays of the host to each other.

    Args:
        comm: the communicator of mpi4py.
        shards: as in `Group`.
    """

    def __init__(self, comm: Any, shards: bool = False):
        self.comm, self.rank, self.size, self.shards = comm, comm.Get_rank(), comm.Get_size(), shards

    def total(self, array: np.ndarray) -> np.ndarray:
        result = np.array(array)  # a copy
        self.start_total(result)()
        return result

    def start_total(self, array: Array) -> Callable[[], None]:
        from mpi4py import MPI

        request = _held(self.comm.Iallreduce(MPI.IN_PLACE, array, op=MPI.SUM))
        return lambda: self._finish(request)

    def gather(self, array: Array) -> None:
        from mpi4py import MPI

        slices = self.slices(len(array))
        counts, starts = [s.stop - s.start for s in slices], [s.start for s in slices]
        self._finish(_held(self.comm.Iallgatherv(MPI.IN_PLACE, [array, (counts, starts)])))

    def collect(self, own: np.ndarray, count: int) -> np.ndarray:
        result = np.zeros(count, own.dtype)
        sizes = [s.stop - s.start for s in self.slices(count)]
        self._finish(_held(self.comm.Igatherv(own, [result, sizes] if self.rank == 0 else None, root=0)))
        return result

    def copy_from(self, rank: int, array: np.ndarray) -> None:
        self._finish(_held(self.comm.Ibcast(array, root=rank)))

    def everyone(self, value: Any) -> list[Any]:
        own = pickle.dumps(value)
        sizes = np.zeros(self.size, np.int64)
        sizes[self.rank] = len(own)
        sizes = self.total(sizes)
        sent = bytearray(int(sizes.sum()))
        self._finish(_held(self.comm.Iallgatherv(own, [sent, sizes.tolist()])))
        ends = np.cumsum(sizes)
        return [pickle.loads(sent[end - size:end]) for end, size in zip(ends, sizes, strict=True)]

    def largest(self, value: int) -> int:
        from mpi4py import MPI

        values = np.array([value], np.int64)
        self._finish(_held(self.comm.Iallreduce(MPI.IN_PLACE, values, op=MPI.MAX)))
        return int(values[0])

    def wait(self) -> None:
        self._finish(_held(self.comm.Ibarrier()))

    def _finish(self, request: Any) -> None:
        """Wait, and give way to other processes where there are more of them than cores.

        Raises:
            OtherFailed: a process has failed.
        """
        until = time.monotonic() + SPIN
        while not request.Test():
            if time.monotonic() > until:
                check_others(self.comm)
                time.sleep(0)


def _held(request: Any) -> Any:
    """An exchange, kept until it is complete; the earlier ones go on meanwhile, as they do only in functions of MPI."""
    _under_way[:] = [*(earlier for earlier in _under_way if not earlier.Test()), request]
    return request


class NcclGroup(MpiGroup):
    """The same, where the arrays of models are on GPUs, one for each process; arrays of the host go by MPI.

    Args:
        comm, shards: as in `MpiGroup`.
        nccl: the GPUs, as `backend/nccl.py` joins them.
    """

    def __init__(self, comm: Any, shards: bool, nccl: Any):
        super().__init__(comm, shards)
        self.nccl = nccl

    def start_total(self, array: Array) -> Callable[[], None]:
        return super().start_total(array) if isinstance(array, np.ndarray) else self.nccl.start_total(array)

    def gather(self, array: Array) -> None:
        for rank, own in enumerate(self.slices(len(array))):
            self.nccl.copy_from(rank, array[own])


def connect(size: int, shards: bool = False) -> Group:
    """Join the processes that were started together, with the arrays of the default backend.

    Args:
        size: how many the launcher says there are.
        shards: as in `Group`.

    Raises:
        ParallelError: as `communicator`, and as `Nccl` on GPUs.
    """
    comm = communicator(size)
    if default_backend().on_host:
        group = MpiGroup(comm, shards)
    else:
        from tinygrad_gpt.backend.nccl import Nccl

        group = NcclGroup(comm, shards, Nccl(size, comm.Get_rank()))
    group.local = launched().local_size
    return group
