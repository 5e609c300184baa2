"""How processes that were started together end together, whichever of them fails.

A process that ends sends one message to each of the others: how it ends, and its exit code. A process that waits for
the others looks for the message of one that has failed (`check_others`), and then ends too. So all of them meet at the
end and agree that the lowest rank that failed by itself says why, and has the exit code of all. Nothing here imports an
array package.
"""

import math
import time
from dataclasses import dataclass
from typing import Any

__all__ = ["DONE", "FAILED", "FOLLOWS", "Ending", "OtherFailed", "check_others", "end_together"]

DONE, FAILED, FOLLOWS = range(3)  # how a process ends, as the tag of its message; FOLLOWS: because another has failed
PAUSE = 0.001  # seconds between two looks for messages


class OtherFailed(BaseException):
    """Another process has failed, and says why. It passes every ``except Exception``."""


@dataclass(frozen=True)
class Ending:
    """What the processes agree on.

    Args:
        speaker: the lowest rank that failed by itself; None: there is none.
        code: the exit code of all.
    """

    speaker: int | None
    code: int


def check_others(comm: Any) -> None:
    """Leave an exchange that cannot come about.

    Args:
        comm: mpi4py's communicator.

    Raises:
        OtherFailed: a process has failed.
    """
    from mpi4py import MPI

    if comm.Iprobe(MPI.ANY_SOURCE, FAILED):
        raise OtherFailed


def end_together(comm: Any, how: int, code: int, patience: float) -> Ending:
    """Tell the others how this process ends, and wait until they end, too.

    Args:
        comm: mpi4py's communicator.
        how: DONE, FAILED or FOLLOWS.
        code: exit code of this process, 0 to 255.
        patience: seconds to wait for the others when one has failed: it may compute, or hang.
    """
    from mpi4py import MPI

    rank, size, until = comm.Get_rank(), comm.Get_size(), math.inf
    ends = {rank: (how, code)}
    sent = [comm.Isend(bytes([code]), other, how) for other in range(size) if other != rank]
    status = MPI.Status()
    while len(ends) < size and time.monotonic() < until:
        if comm.Iprobe(MPI.ANY_SOURCE, MPI.ANY_TAG, status):
            received = bytearray(1)
            comm.Recv(received, status.Get_source(), status.Get_tag())
            ends[status.Get_source()] = status.Get_tag(), received[0]
        else:
            time.sleep(PAUSE)
        if until == math.inf and any(end != DONE for end, _ in ends.values()):
            until = time.monotonic() + patience
    if len(ends) == size:
        MPI.Request.Waitall(sent)
    failed = [other for other in sorted(ends) if ends[other][0] == FAILED]
    return Ending(failed[0], ends[failed[0]][1]) if failed else Ending(None, code)
