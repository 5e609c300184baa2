"""What `mpiexec` says to the processes that it starts, and the way into MPI. Nothing here imports an array package."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tinygrad_gpt.errors import ParallelError, UsageError

__all__ = ["Launch", "communicator", "launched"]

RANK = ("PMI_RANK", "OMPI_COMM_WORLD_RANK")  # as MPICH and its relatives say it, and Open MPI
SIZE = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")
LOCAL_RANK = ("MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK")
LOCAL_SIZE = ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE")


@dataclass(frozen=True)
class Launch:
    """One of the processes that were started together.

    Args:
        rank, size: its number among all, and how many there are; 0 and 1 for a process that was started alone.
        local_rank, local_size: the same among those of this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    def threads(self, cores: int) -> int:
        """Threads for each process of a machine with so many cores."""
        return max(1, cores // self.local_size)

    def device(self, visible: str | None) -> str:
        """The GPU of this process, as CUDA_VISIBLE_DEVICES names it.

        Args:
            visible: the value of that variable; None: it is not set.

        Raises:
            UsageError: "no GPU for rank 2 (CUDA_VISIBLE_DEVICES): it names 2 for 3 processes; …".
        """
        if visible is None:
            return str(self.local_rank)
        devices = [device for device in visible.split(",") if device]
        if self.local_rank >= len(devices):
            raise UsageError(f"no GPU for rank {self.rank} (CUDA_VISIBLE_DEVICES): it names {len(devices)} for "
                             f"{self.local_size} processes of this machine; start one process for each GPU")
        return devices[self.local_rank]


def launched(environment: Mapping[str, str] = os.environ) -> Launch:
    """How this process was started, as its environment says."""

    def number(names: tuple[str, ...], otherwise: int) -> int:
        return next((int(environment[name]) for name in names if environment.get(name, "").isdecimal()), otherwise)

    rank, size = number(RANK, 0), number(SIZE, 1)
    return Launch(rank, size, number(LOCAL_RANK, rank), number(LOCAL_SIZE, size)) if size > 1 else Launch()


def communicator(size: int) -> Any:
    """mpi4py's communicator of the processes that were started together; returns when all of them are here.

    Args:
        size: how many there are, as the launcher says.

    Raises:
        ParallelError: "cannot compute in 2 processes (mpi4py): …": it is not installed, or belongs to another MPI than
            the launcher, so that each process would do the whole work alone.
    """
    try:
        import mpi4py

        mpi4py.rc.threads = False
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        why = str(error).splitlines()[0]
        raise ParallelError(f"cannot compute in {size} processes (mpi4py): {why}; install it with "
                            "`pip install 'tinygrad-gpt[parallel]'`, or start the command without mpiexec") from error
    if MPI.COMM_WORLD.Get_size() != size:
        raise ParallelError(f"cannot compute in {size} processes (mpi4py): each process finds itself alone; start it "
                            "with the mpiexec of the MPI that mpi4py uses")
    return MPI.COMM_WORLD
