"""Commands in several processes: which can, who speaks, and how they end. `tests/parallel/test_mpi.py` starts some."""

import os
import sys

import click
import pytest

from tinygrad_gpt.cli import COMMANDS, group, ranks
from tinygrad_gpt.cli.ranks import PARALLEL, Ranks, alone, command_name, rank_settings, refuse_ranks
from tinygrad_gpt.errors import UsageError


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


@pytest.mark.usefixtures("second")
def test_other_ranks_are_silent_until_they_are_the_last_to_know(monkeypatch, capfd):
    monkeypatch.setattr(ranks, "PATIENCE", 0.0)
    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)
    with Ranks() as process:
        print("not heard")
        print("not heard", file=sys.stderr)
        process.speak()
        print("error: heard", file=sys.stderr)
        assert process.end(0) == 0
        process.end(3)
    assert ended == [3]
    assert capfd.readouterr() == ("", "error: heard\n")


def test_a_process_alone_speaks_and_returns(capfd):
    with Ranks() as process:
        process.meet()
        print("heard")
        process.speak()
        assert process.end(3) == 3
    assert capfd.readouterr().out == "heard\n"
