"""NCCL as CuPy has it, by a stand-in that notes the order of what is asked on each stream."""

import sys
from types import SimpleNamespace

import pytest

from tinygrad_gpt.backend.nccl import Nccl
from tinygrad_gpt.errors import ParallelError


class Stream:
    """Of cupy.cuda: `record` gives an event, `wait_event` takes one."""

    def __init__(self, name, events):
        self.name, self.events = name, events

    def record(self):
        self.events.append((self.name, "record"))
        return f"event of {self.name}"

    def wait_event(self, event):
        self.events.append((self.name, "wait for", event))


@pytest.fixture
def events(monkeypatch):
    """What was asked of CuPy; its modules are replaced."""
    noted = []

    class Communicator:
        def all_reduce(self, in_array, out_array, op="sum", stream=None):
            assert in_array is out_array
            noted.append((stream.name, "all_reduce", in_array, op))

        def broadcast(self, in_out_array, root=0, stream=None):
            noted.append(("current", "broadcast", in_out_array, root))

    def init_process_group(n_devices, rank, *, backend="nccl", host=None, port=None, use_mpi=False):
        noted.append(("init", n_devices, rank, use_mpi))
        if n_devices > 2:
            raise RuntimeError("NCCL is not available")
        return Communicator()

    cuda = SimpleNamespace(get_current_stream=lambda: Stream("current", noted),
                           Stream=lambda non_blocking: Stream("side", noted))
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=cuda))
    monkeypatch.setitem(sys.modules, "cupyx", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "cupyx.distributed", SimpleNamespace(init_process_group=init_process_group))
    return noted


def test_a_sum_waits_for_what_makes_its_array_and_later_work_for_the_sum(events):
    nccl = Nccl(2, 1)
    wait = nccl.start_total("gradients")
    assert events == [
        ("init", 2, 1, True), ("current", "record"), ("side", "wait for", "event of current"),
        ("side", "all_reduce", "gradients", "sum"), ("side", "record")]
    wait()
    assert events[-1] == ("current", "wait for", "event of side")


def test_copies_come_from_a_rank(events):
    Nccl(2, 0).copy_from(1, "weights")
    assert events[-1] == ("current", "broadcast", "weights", 1)


@pytest.mark.usefixtures("events")
def test_what_cupy_says_is_one_line():
    with pytest.raises(ParallelError, match=r"^cannot join 3 GPUs \(NCCL\): NCCL is not available; give each"):
        Nccl(3, 0)
