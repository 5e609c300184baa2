"""Processes that `mpiexec` starts: what they send each other, runs, stops, and input that is refused."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tiny
from several import ENVIRONMENT, MPIEXEC, mpiexec, needs_mpi

from tinygrad_gpt.cli import main
from tinygrad_gpt.parallel.mpi import NcclGroup
from tinygrad_gpt.runs.folder import States, read_run, run_digest

CLI = [sys.executable, "-m", "tinygrad_gpt"]

TALK = """
import numpy as np
from tinygrad_gpt.parallel.mpi import connect
group = connect(3)
values = np.arange(5) * 10.0 ** group.rank
assert group.total(values).tolist() == (np.arange(5) * 111.0).tolist()
one, two = np.full(3, group.rank, np.float32), np.full(70000, 2.0 ** group.rank)
first, second = group.start_total(one), group.start_total(two)
second(), first()
assert one.tolist() == [3, 3, 3] and set(two.tolist()) == {7}
mine = np.zeros(7, np.float32)
mine[group.own(7)] = group.rank + 1
group.gather(mine)
assert mine.tolist() == [1, 1, 2, 2, 3, 3, 3], mine
whole = group.collect(np.full(len(range(7)[group.own(7)]), group.rank + 1.0), 7)
assert whole.tolist() == ([1, 1, 2, 2, 3, 3, 3] if group.rank == 0 else [0] * 7)
copied = np.full((2, 2), group.rank)
group.copy_from(2, copied)
assert copied.tolist() == [[2, 2], [2, 2]]
assert group.everyone({"rank": group.rank, "text": "x" * group.rank}) == [
    {"rank": rank, "text": "x" * rank} for rank in range(3)]
assert group.largest(5 - group.rank) == 5
group.wait()
print("ok")
"""


def pretrain(folder, out, *more):
    return [*CLI, "pretrain", "--data", str(folder / "text.txt"), "--tokenizer", "characters", "--n-ctx", "8",
            "--n-embd", "8", "--n-layer", "1", "--n-head", "2", "--batch-size", "4", "--dropout", "0.1", "--steps",
            "40", "--save-every", "20", "--out", str(folder / out), *more]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mpi")
    tiny.text_file(folder / "text.txt", documents=4)
    return folder


def losses(path):
    return np.array([json.loads(line)["loss"] for line in (path / "log.jsonl").read_text().splitlines()])


@needs_mpi
def test_what_ranks_send_arrives():
    found = mpiexec((3, [sys.executable, "-c", TALK]))
    assert (found.returncode, "".join(found.stdout.split()), found.stderr) == (0, "ok" * 3, "")


@needs_mpi
def test_a_run_is_the_same_in_any_number_of_processes_and_is_resumed_in_any_other(folder):
    found = mpiexec((2, pretrain(folder, "two", "--shard-optimizer")))
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("Written to") == 1
    assert main(pretrain(folder, "one")[len(CLI):]) == 0
    np.testing.assert_allclose(losses(folder / "two"), losses(folder / "one"), rtol=1e-6)
    assert {path.name for path in (folder / "one").iterdir()} == {path.name for path in (folder / "two").iterdir()}

    for name in ("model.h5", "curves.png"):  # as if it had been stopped after the first state
        (folder / "two" / name).unlink()
    newest = max((folder / "two").glob("state-*"), key=lambda path: path.stat().st_mtime_ns)
    newest.unlink()
    found = mpiexec((3, [*CLI, "pretrain", "--resume", "--out", str(folder / "two")]))
    assert found.returncode == 0, found.stderr
    np.testing.assert_allclose(losses(folder / "two"), losses(folder / "one"), rtol=1e-6)


@needs_mpi
@pytest.mark.parametrize(("groups", "code", "line"), [
    (lambda folder: [(2, [*CLI, "classify", "a text"])], 2,
     "error: classify in 2 processes (mpiexec): each would do the same; start it without mpiexec, which is for "
     "pretrain and finetune"),
    (lambda folder: [(5, pretrain(folder, "bad"))], 2,
     "error: more processes than rows (mpiexec): a batch has 4 and there are 5 processes; start fewer, or take larger "
     "batches"),
    (lambda folder: [(1, pretrain(folder, "bad", "--seed", "1")), (1, pretrain(folder, "bad", "--seed", "2"))], 2,
     "error: ranks differ (settings): seed is '2' on rank 1 and '1' on rank 0; start all with the same command, data "
     "and version"),
    (lambda folder: [(1, pretrain(folder, "bad")), (1, pretrain(folder, "bad", "--lr", "x"))], 2,
     "error: bad value for '--lr' (python -m tinygrad_gpt pretrain): 'x' is not a number above 0 and at most 1; see "
     "'python -m tinygrad_gpt pretrain --help'"),
], ids=["a command that is not parallel", "more ranks than rows", "other seeds", "one wrong command"])
def test_bad_input_is_one_line_and_leaves_nothing(folder, groups, code, line):
    found = mpiexec(*groups(folder))
    assert (found.returncode, found.stdout, found.stderr) == (code, "", f"{line}\n")
    assert not (folder / "bad").exists()


@needs_mpi
def test_other_data_under_one_name_is_refused(folder, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "text.txt").write_text(name * 500)
    command = [*CLI, "pretrain", "--data", "text.txt", "--tokenizer", "characters", "--n-ctx", "8", "--out",
               str(folder / "bad")]
    inside = ["-wdir", str(tmp_path / "a")], ["-wdir", str(tmp_path / "b")]
    found = mpiexec((1, [*inside[0], *command]), (1, [*inside[1], *command]))
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr.startswith("error: ranks differ (data): text.txt is ")
    assert found.stderr.count("\n") == 1
    assert not (folder / "bad").exists()


FAILING = """
import sys
import tinygrad_gpt.runs.run as run
from tinygrad_gpt.cli import main
seed_dropout = run.seed_dropout

def fail(model, seed, step):
    if step == 25:
        raise MemoryError("no room")
    seed_dropout(model, seed, step)

run.seed_dropout = fail
sys.exit(main(sys.argv[1:], program="python -m tinygrad_gpt"))
"""


@needs_mpi
@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_rank_that_fails_alone_ends_all_with_its_line_and_code(folder, failing):
    out = folder / f"alone-{failing}"
    command = pretrain(folder, out)
    groups = [(1, command)] * 3
    groups[failing] = (1, [sys.executable, "-c", FAILING, *command[len(CLI):]])
    found = mpiexec(*groups)
    assert found.returncode == 4
    assert found.stderr.splitlines()[-1].startswith("error: out of memory (main memory or GPU): ")
    assert (found.stdout + found.stderr).count("error") == 1
    assert "TERMINATION" not in found.stdout + found.stderr
    assert len(losses(out)) == 25
    assert not alive(out)
    States(out, run_digest(read_run(out))).load()


@needs_mpi
def test_a_stop_is_one_line_and_all_ranks_save_the_same_step(folder):
    command = [MPIEXEC, "-n", "2", *pretrain(folder, "stopped", "--steps", "100000")]
    run = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(folder / "stopped" / "log.jsonl")
    run.send_signal(signal.SIGTERM)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 143
    assert said.splitlines()[-1].startswith("error: terminated (SIGTERM): the run can be resumed; go on with: mpiexec "
                                            "-n 2 python -m tinygrad_gpt pretrain --resume --out ")
    assert said.count("error:") == 1
    assert len(losses(folder / "stopped")) > 0
    assert not alive(folder / "stopped")


@needs_mpi
def test_a_killed_rank_takes_the_others_with_it_and_the_run_goes_on_from_its_state(folder):
    command = [MPIEXEC, "-n", "2", *pretrain(folder, "killed", "--steps", "100000")]
    run = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(folder / "killed" / "log.jsonl")
    os.kill(alive(folder / "killed")[-1], signal.SIGKILL)
    _, said = run.communicate(timeout=60)
    assert run.returncode != 0
    assert said.splitlines()[-1] in [f"error: a process was killed (rank {rank}): by the system, for want of memory "
                                     "perhaps, or by a user; go on with --resume" for rank in range(2)]
    assert said.count("error:") == 1
    assert not alive(folder / "killed")
    States(folder / "killed", run_digest(read_run(folder / "killed"))).load()


def wait_for(path):
    until = time.monotonic() + 60
    while not (path.exists() and path.stat().st_size):
        assert time.monotonic() < until, path
        time.sleep(0.05)


def alive(out):
    """Process ids of the ranks of a run, in the order of their start."""
    import psutil

    time.sleep(0.3)
    return sorted(process.pid for process in psutil.process_iter(["cmdline", "status"])
                  if str(out) in (process.info["cmdline"] or []) and "tinygrad_gpt" in process.info["cmdline"]
                  and process.info["status"] != psutil.STATUS_ZOMBIE and "mpiexec" not in process.info["cmdline"][0])


def test_gpus_send_arrays_of_models_and_the_host_the_rest():
    class Comm:
        def Get_rank(self):
            return 1

        def Get_size(self):
            return 2

    sent = []

    class Nccl:
        def start_total(self, array):
            sent.append(("total", array))
            return sent.append

        def copy_from(self, rank, array):
            sent.append((rank, array))

    group = NcclGroup(Comm(), False, Nccl())
    group.start_total("gradients")
    group.gather([1, 2, 3, 4, 5])
    assert sent == [("total", "gradients"), (0, [1, 2]), (1, [3, 4, 5])]
