"""Commands in several processes: which can, who speaks, and how they end. `tests/parallel/test_mpi.py` starts some."""

import os
import sys
import threading
import time
from types import SimpleNamespace

import click
import pytest

from tinygrad_gpt.cli import COMMANDS, group, ranks
from tinygrad_gpt.cli.ranks import PARALLEL, Ranks, alone, command_name, rank_settings, refuse_ranks
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.parallel import ending, launch
from tinygrad_gpt.parallel.ending import Ending


@pytest.fixture
def second(monkeypatch):
    """The environment of the second of two processes."""
    for name, value in {"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}.items():
        monkeypatch.setenv(name, value)


def context(*words):
    """That of a command, by its words."""
    found = click.Context(group, info_name="python cli.py")
    for word in words:
        found = click.Context(found.command.get_command(found, word), info_name=word, parent=found)
    return found


def test_the_parallel_commands_exist():
    for name in PARALLEL:
        assert command_name(context(*name.split())) == name


@pytest.mark.usefixtures("second")
@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("pretrain", "finetune")])
def test_every_other_command_is_refused(name):
    with pytest.raises(UsageError) as info:
        refuse_ranks(context(name))
    assert str(info.value) == (f"{name} in 2 processes (mpiexec): each would do the same; start it without mpiexec, "
                               "which is for pretrain and finetune")


@pytest.mark.usefixtures("second")
def test_parallel_commands_are_not_refused():
    for name in PARALLEL:
        refuse_ranks(context(*name.split()))


def test_one_process_may_do_anything():
    refuse_ranks(context("classify"))
    alone("--budget")
    assert rank_settings(None, "cupy") == {}


@pytest.mark.usefixtures("second")
def test_processes_share_cores_and_have_gpus_of_their_own(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = rank_settings(None, "numpy")
    assert found["OPENBLAS_NUM_THREADS"] == "4"
    assert "OMP_NUM_THREADS" not in found  # the user's own
    assert rank_settings(2, "auto") == {"CUDA_VISIBLE_DEVICES": "1"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    with pytest.raises(UsageError, match=r"^no GPU for rank 1"):
        rank_settings(None, "cupy")


@pytest.fixture
def left(monkeypatch):
    """How a process left: what it called, with its exit code; `os._exit` returns nothing, and neither does this."""
    called = []
    world = SimpleNamespace(Abort=lambda code: called.append(("Abort", code)))
    monkeypatch.setattr(launch, "communicator", lambda size: world)
    monkeypatch.setattr(ranks, "_wait_for_reader", lambda descriptor: None)
    monkeypatch.setattr(ranks, "_mute", lambda: called.append("mute"))

    def leave(code):
        called.append(code)
        raise SystemExit

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(time, "sleep", lambda seconds: called.append("sleep"))
    return called


@pytest.mark.usefixtures("second")
@pytest.mark.parametrize(("found", "calls", "line"), [
    (Ending(1, 3), ["mute", ("Abort", 3), 3], "error: heard\n"),
    (Ending(0, 3), ["sleep", "mute", ("Abort", 3), 3], ""),
])
def test_the_lowest_rank_that_failed_speaks(monkeypatch, capfd, left, found, calls, line):
    asked = []
    monkeypatch.setattr(ending, "end_together", lambda comm, how, *more: asked.append(how) or found)
    with Ranks() as process:
        process.meet()
        print("not heard")
        print("not heard", file=sys.stderr)
        with pytest.raises(SystemExit):
            process.end(9, ValueError(), lambda error: print("error: heard", file=sys.stderr))
    assert asked == [ending.FAILED]
    assert left == calls
    assert capfd.readouterr() == ("", line)


@pytest.mark.usefixtures("second")
@pytest.mark.parametrize(("error", "how"), [(None, ending.DONE), (ending.OtherFailed(), ending.FOLLOWS)])
def test_a_process_ends_with_one_that_failed_and_says_nothing(monkeypatch, capfd, left, error, how):
    asked = []
    monkeypatch.setattr(ending, "end_together", lambda comm, how, *more: asked.append(how) or Ending(0, 4))
    with Ranks() as process:
        process.meet()
        with pytest.raises(SystemExit):
            process.end(0, error, lambda error: print("not heard", file=sys.stderr))
    assert (asked, left) == ([how], ["sleep", "mute", ("Abort", 4), 4])
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("second", "left")
def test_processes_that_all_succeed_return(monkeypatch):
    monkeypatch.setattr(ending, "end_together", lambda comm, how, code, patience: Ending(None, code))
    with Ranks() as process:
        process.meet()
        assert process.end(0) == 0


def test_a_process_alone_speaks_and_returns(capfd):
    with Ranks() as process:
        process.meet()
        print("heard")
        assert process.end(0) == 0
        assert process.end(3, ValueError("why"), print) == 3
    assert capfd.readouterr().out == "heard\nwhy\n"


@pytest.mark.skipif(sys.platform == "win32", reason="needs FIONREAD")
def test_what_was_written_is_read_before_the_end():
    reading, writing = os.pipe()
    os.write(writing, b"error: heard")
    waits = threading.Thread(target=ranks._wait_for_reader, args=(writing,))
    waits.start()
    waits.join(0.05)
    assert waits.is_alive()
    assert os.read(reading, 100) == b"error: heard"
    waits.join(5)
    assert not waits.is_alive()
    os.close(reading)
    os.close(writing)
