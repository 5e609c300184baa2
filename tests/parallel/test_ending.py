"""Processes that `mpiexec` starts agree on their end: who speaks, and the exit code of all."""

import sys

import pytest
from several import mpiexec, needs_mpi

AGREE = """
import os, sys, time
from mpi4py import MPI
from tinygrad_gpt.parallel.ending import DONE, FAILED, FOLLOWS, Ending, OtherFailed, check_others, end_together
comm = MPI.COMM_WORLD
rank = comm.Get_rank()
check_others(comm)
for hows, codes, expected in [
    ((DONE, DONE, DONE), (0, 0, 0), Ending(None, 0)),
    ((FAILED, FAILED, FAILED), (1, 2, 3), Ending(0, 1)),
    ((FOLLOWS, FAILED, DONE), (70, 143, 0), Ending(1, 143)),
    ((DONE, FAILED, FAILED), (0, 0, 4), Ending(1, 0)),
]:
    time.sleep(0.02 * rank)
    assert end_together(comm, hows[rank], codes[rank], 60) == expected, hows
if rank == 2:  # it hangs
    time.sleep(60)
if rank == 1:
    until = time.monotonic() + 60
    try:
        while time.monotonic() < until:
            check_others(comm)
    except OtherFailed:
        assert end_together(comm, FOLLOWS, 70, 60) == "never: the other ends all"
assert end_together(comm, FAILED, 5, 0.2) == Ending(0, 5)
print("agreed", flush=True)
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
comm.Abort(5)
"""


@needs_mpi
def test_ranks_agree_on_their_end_and_one_that_hangs_is_ended():
    found = mpiexec((3, [sys.executable, "-c", AGREE]))
    assert (found.returncode, found.stdout, found.stderr) == (5, "agreed\n", "")


@needs_mpi
@pytest.mark.parametrize("sent", [100, 10**6])
def test_an_exchange_that_was_broken_off_does_not_hold_up_the_end(sent):
    found = mpiexec((2, [sys.executable, "-c", f"""
import os
import numpy as np
from tinygrad_gpt.parallel.ending import FAILED, FOLLOWS, Ending, OtherFailed, end_together
from tinygrad_gpt.parallel.mpi import connect
group = connect(2)
if group.rank == 0:
    group.start_total(np.ones({sent}, np.float32))
    how = FAILED
else:
    try:
        group.copy_from(0, np.zeros(3))
    except OtherFailed:
        how = FOLLOWS
assert end_together(group.comm, how, 7, 60) == Ending(0, 7)
print("agreed", flush=True)
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # for a notice of MPICH
"""]))
    assert (found.returncode, "".join(found.stdout.split()), found.stderr) == (0, "agreedagreed", "")
