"""Sums and copies between GPUs, one for each process, by NCCL as CuPy has it."""

from collections.abc import Callable
from typing import Any

from tinygrad_gpt.errors import ParallelError

__all__ = ["Nccl"]


class Nccl:
    """The GPUs of a group of processes.

    Args:
        size, rank: of the group; every process makes its own at the same time.

    Raises:
        ParallelError: "cannot join 2 GPUs (NCCL): …".

    Source: https://docs.cupy.dev/en/stable/reference/distributed.html
    """

    def __init__(self, size: int, rank: int):
        import cupy
        from cupyx.distributed import init_process_group

        try:
            self._comm: Any = init_process_group(size, rank, use_mpi=True)  # which tells the others NCCL's id
        except Exception as error:  # NcclError, RuntimeError: NCCL is absent, or two processes have one device
            raise ParallelError(f"cannot join {size} GPUs (NCCL): {error}; give each process a GPU of its own, and "
                                "install nvidia-nccl-cu12 or -cu13") from error
        self._current: Callable[[], Any] = cupy.cuda.get_current_stream
        self._stream: Any = cupy.cuda.Stream(non_blocking=True)

    def start_total(self, array: Any) -> Callable[[], None]:
        """Begin to replace a contiguous array by its sum over the GPUs, while the device goes on with other work.

        Returns:
            A function after which what is launched waits for the sum; the host does not wait.
        """
        self._stream.wait_event(self._current().record())  # what was launched before makes the array
        self._comm.all_reduce(array, array, "sum", self._stream)
        done = self._stream.record()
        return lambda: self._current().wait_event(done)

    def copy_from(self, rank: int, array: Any) -> None:
        """Replace a contiguous array by that of a rank."""
        self._comm.broadcast(array, rank)
