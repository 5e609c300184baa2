"""What the environment says about processes that were started together."""

import builtins
import sys

import pytest

from tinygrad_gpt.errors import ParallelError, UsageError
from tinygrad_gpt.parallel.launch import Launch, communicator, launched


@pytest.mark.parametrize(("environment", "expected"), [
    ({}, Launch()),
    ({"PMI_RANK": "0", "PMI_SIZE": "1"}, Launch()),
    ({"PMI_RANK": "1", "PMI_SIZE": "2"}, Launch(1, 2, 1, 2)),
    ({"PMI_RANK": "5", "PMI_SIZE": "8", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "4"}, Launch(5, 8, 1, 4)),
    ({"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_RANK": "1",
      "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}, Launch(3, 4, 1, 2)),
    ({"PMI_RANK": "x", "PMI_SIZE": ""}, Launch()),
])
def test_launchers_say_who_a_process_is(environment, expected):
    assert launched(environment) == expected


def test_processes_of_a_machine_share_its_cores():
    assert [Launch(0, 4, 0, 4).threads(cores) for cores in (16, 6, 4, 2)] == [4, 1, 1, 1]
    assert Launch(0, 8, 0, 2).threads(16) == 8  # the others are on other machines


def test_each_process_of_a_machine_has_a_gpu_of_its_own():
    assert [Launch(4 + i, 8, i, 4).device(None) for i in range(2)] == ["0", "1"]
    assert [Launch(i, 2, i, 2).device("3,1") for i in range(2)] == ["3", "1"]
    with pytest.raises(UsageError, match=r"^no GPU for rank 2 \(CUDA_VISIBLE_DEVICES\): it names 2 for 3 processes of"):
        Launch(2, 3, 2, 3).device("0,1")
    with pytest.raises(UsageError, match=r"it names 0 for 2 processes"):
        Launch(1, 2, 1, 2).device("")


def test_without_mpi4py_processes_cannot_be_joined(monkeypatch):
    load = builtins.__import__

    def refusing(name, *args, **settings):
        if name.split(".")[0] == "mpi4py":
            raise ModuleNotFoundError("No module named 'mpi4py'")
        return load(name, *args, **settings)

    monkeypatch.setattr(builtins, "__import__", refusing)
    with pytest.raises(ParallelError) as info:
        communicator(2)
    assert str(info.value) == ("cannot compute in 2 processes (mpi4py): No module named 'mpi4py'; install it with "
                               "`pip install 'tinygrad-gpt[parallel]'`, or start the command without mpiexec")


def test_a_launcher_of_another_mpi_is_refused(monkeypatch):
    class Alone:
        COMM_WORLD = type("Comm", (), {"Get_size": lambda self: 1})()

    monkeypatch.setitem(sys.modules, "mpi4py", type("Package", (), {"rc": type("Rc", (), {})(), "MPI": Alone}))
    with pytest.raises(ParallelError, match="each process finds itself alone; start it with the mpiexec of the MPI"):
        communicator(2)
    assert communicator(1) is Alone.COMM_WORLD
