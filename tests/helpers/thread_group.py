"""Several ranks in threads of one process: what `mpiexec` would start, in a fraction of the time."""

import contextvars
import threading

import numpy as np

from tinygrad_gpt.parallel.group import Group, in_group


class ThreadGroup(Group):
    """A rank whose others are threads.

    Args:
        board: shared by all; the place of each rank for what it sends.
        barrier: shared by all.
    """

    def __init__(self, rank, board, barrier, shards=False):
        self.rank, self.size, self.board, self.barrier, self.shards = rank, len(board), board, barrier, shards

    def everyone(self, value):
        self.board[self.rank] = value
        self.barrier.wait()
        values = list(self.board)
        self.barrier.wait()
        return values

    def total(self, array):
        return sum(self.everyone(array.copy()))

    def start_total(self, array):
        array[...] = sum(self.everyone(array.copy()))
        return lambda: None

    def gather(self, array):
        for own, part in zip(self.slices(len(array)), self.everyone(array[self.own(len(array))].copy()), strict=True):
            array[own] = part

    def collect(self, own, count):
        parts = np.concatenate(self.everyone(own))
        return np.zeros(count, own.dtype) if self.rank else parts

    def copy_from(self, rank, array):
        array[...] = self.everyone(array.copy())[rank]

    def largest(self, value):
        return max(self.everyone(value))

    def wait(self):
        self.barrier.wait()


def in_ranks(size, work, shards=False):
    """What ``work(group)`` returns on each of ``size`` ranks; the first error of a rank is raised.

    A rank that fails takes the others with it, as it does under `mpiexec`.
    """
    board, barrier = [None] * size, threading.Barrier(size, timeout=60)
    results, errors = [None] * size, []

    def run(rank):
        group = ThreadGroup(rank, board, barrier, shards)
        try:
            with in_group(group):
                results[rank] = work(group)
        except threading.BrokenBarrierError:
            pass
        except BaseException as error:
            errors.append(error)
            barrier.abort()

    contexts = [contextvars.copy_context() for _ in range(size)]
    threads = [threading.Thread(target=context.run, args=(run, rank)) for rank, context in enumerate(contexts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results
