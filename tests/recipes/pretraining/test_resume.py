"""Whatever stops a run, resumed it is bit for bit the uninterrupted one; and nothing that a state holds is idle."""

import contextlib
import errno
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
from run_folders import log_of, undrawn_pictures

from tinygrad_gpt import files
from tinygrad_gpt.checkpoints import native
from tinygrad_gpt.errors import CheckpointError, DataError, NonFiniteError, TinygradError, UsageError
from tinygrad_gpt.files import run_lock
from tinygrad_gpt.recipes.pretraining import task as pretrain_task
from tinygrad_gpt.recipes.pretraining.pretrain import PretrainConfig, pretrain, resume
from tinygrad_gpt.runs.folder import States, holds_run
from tinygrad_gpt.runs.saved_model import load_model

HELPERS = Path(__file__).resolve().parents[2] / "helpers"
STATES = ("state-a.h5", "state-b.h5")


@pytest.fixture(autouse=True, scope="module")
def quick_checkpoints():
    with undrawn_pictures(pretrain_task), pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "_verify", lambda path: None)  # reading back is tested elsewhere, too
        yield


def contents(folder):
    """Everything in a folder but the clock in the log; the two states by their steps."""
    apart = {"log.jsonl", ".lock", *STATES}
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in apart}
    found["log"] = log_of(folder)
    found["states"] = {native.load_metadata(folder / name)["step"]: (folder / name).read_bytes() for name in STATES
                       if (folder / name).exists()}
    return found


def assert_same_run(folder, expected):
    found = contents(folder)
    assert set(found) == set(expected)
    for name in expected:
        if name != "states":
            assert found[name] == expected[name], name
    last = max(expected["states"])
    assert max(found["states"]) == last
    assert found["states"][last] == expected["states"][last]


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
@pytest.mark.parametrize("places", ["steps", "inside"])
def test_killed_sixty_times(places, tmp_path):
    done = subprocess.run([sys.executable, HELPERS / "killed_runs.py", tmp_path, places], capture_output=True,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HELPERS), str(HELPERS.parents[1])])})
    assert (done.stdout, done.stderr) == (b"60\n", b"")
    expected = contents(tmp_path / "whole")
    assert len(expected["log"]) == 60
    assert_same_run(tmp_path / "killed", expected)


# -- a run so small that it can be done hundreds of times


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Config of a run of 3 steps that soon gets worse, and the folder that it leaves."""
    folder = tmp_path_factory.mktemp("small")
    text = str(tiny.text_file(folder / "text.txt", documents=2))
    tiny.language_model().tokenizer.save(folder / "vocabulary.json")
    config = PretrainConfig((text,), hold_out=0.2, vocabulary=str(folder / "vocabulary.json"), n_ctx=4, n_embd=4,
                            n_layer=1, n_head=1, dropout=0.1, steps=3, batch_size=1, warmup=0, eval_every=1,
                            save_every=2, patience=3, lr=0.5)
    pretrain(config, folder / "whole")
    return config, folder / "whole"


def fail_at(patch, k):
    """Let the k-th call of the operating system fail; returns the calls made."""
    calls = []

    def failing(name, call):
        def operation(*args):
            calls.append(name)
            if len(calls) == k:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return call(*args)

        return operation

    for name, call in vars(files.system).items():
        patch.setattr(files.system, name, failing(name, call))
    return calls


def reason(call, *args):
    """Why a call failed; None if it did not."""
    try:
        call(*args)
    except TinygradError as error:
        return str(error)
    return None


def test_every_file_operation_fails_once(small, tmp_path):
    config, failed = replace(small[0], steps=2), []
    with pytest.MonkeyPatch.context() as patch:
        operations = fail_at(patch, 0)
        pretrain(config, tmp_path / "counted")
    n_operations, expected = len(operations), contents(tmp_path / "counted")
    for k in range(1, n_operations + 1):
        out = tmp_path / str(k)
        with pytest.MonkeyPatch.context() as patch:
            fail_at(patch, k)
            why = reason(pretrain, config, out)
        if why is None:  # what may fail without harm, such as looking for old temporaries
            assert_same_run(out, expected)
        else:
            failed.append(k)
            assert "no space left on device" in why
            assert "\n" not in why
        if (out / "model.h5").exists():
            assert load_model(out).provenance["step"] >= 1
        if holds_run(out):
            resume(out)
        else:
            pretrain(config, out)
        assert_same_run(out, expected)
        shutil.rmtree(out)
    assert n_operations > 80
    assert len(failed) > 0.7 * n_operations


@pytest.fixture
def interrupted(small, tmp_path):
    """The run after step 2."""
    config, _ = small

    def stop(progress):
        if progress.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path / "run", report=stop)
    return tmp_path / "run"


def newest(folder):
    return max((folder / name for name in STATES), key=lambda path: native.load_metadata(path)["step"])


def test_without_any_field_of_the_state_the_run_is_another(small, interrupted, monkeypatch):
    """Each field in turn is what it was before the first step, as if it were not saved; then it is missing."""
    expected = contents(small[1])
    oldest = min((interrupted / name for name in STATES), key=lambda path: native.load_metadata(path)["step"])
    beginning, load = native.load(oldest), States.load
    assert beginning.metadata["step"] == 0
    assert {"best_loss", "stale", "optimizer.steps", "optimizer.m.0", "optimizer.v.0", "model.wte.weight",
            "model.ln_f.bias"} <= set(beginning.tensors)
    for field in beginning.tensors:
        run = shutil.copytree(interrupted, interrupted.with_name(field))
        monkeypatch.setattr(States, "load", lambda states, field=field: {
            name: array for name, array in load(states).items() if name != field})
        with pytest.raises(CheckpointError, match=field.removeprefix("model.").removeprefix("optimizer.")):
            resume(run)
        monkeypatch.setattr(States, "load", lambda states, field=field: (
            load(states) | {field: beginning.tensors[field]}))
        with contextlib.suppress(NonFiniteError):  # without Adam's v the weights explode
            resume(run)
        found = contents(run)
        assert (found["log"], found["model.h5"], found["states"].get(3)) != (
            expected["log"], expected["model.h5"], expected["states"][3]), field
    monkeypatch.undo()
    resume(interrupted)
    assert_same_run(interrupted, expected)


def test_a_damaged_state_costs_one_interval(small, interrupted):
    _, whole = small
    path = newest(interrupted)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    for damaged in (bytes(data), bytes(data[:100]), b""):
        path.write_bytes(damaged)
        run = shutil.copytree(interrupted, interrupted.with_name(f"damaged {len(damaged)}"))
        steps = []
        with pytest.warns(UserWarning, match="cannot load .*; resumed from the other state, of step 0"):
            resume(run, report=steps.append)
        assert [progress.step for progress in steps] == [1, 2, 3]
        assert_same_run(run, contents(whole))


def test_damage_that_cannot_be_made_good_is_one_line(small, interrupted):
    def refused(name, data, why, error=CheckpointError):
        run = shutil.copytree(interrupted, interrupted.with_name("again"))
        if data is None:
            (run / name).unlink()
        else:
            (run / name).write_bytes(data)
        with pytest.raises(error, match=why) as caught:
            resume(run)
        assert "\n" not in str(caught.value)
        assert str(run) in str(caught.value)
        assert (run / "log.jsonl").read_bytes() == (interrupted / "log.jsonl").read_bytes()
        assert (run / "model.h5").read_bytes() == (interrupted / "model.h5").read_bytes()
        shutil.rmtree(run)

    settings = (interrupted / "config.json").read_bytes()
    tokens = (interrupted / "tokens.npy").read_bytes()
    refused("config.json", None, "no run was started there", UsageError)
    refused("config.json", settings.replace(b'"lr": 0.5', b'"lr": 0.6'), "damaged or was edited")
    refused("config.json", b"[]", "damaged or was edited")
    refused("config.json", settings[:-100], "damaged or was edited")
    refused("tokens.npy", tokens[:-1] + b"\xff", "the file is damaged", DataError)
    refused("tokens.npy", None, "no such file", DataError)
    refused("validation.npy", tokens, "the file is damaged", DataError)
    refused("vocabulary.json", None, "no such file")
    other = tiny.language_model().tokenizer.train(["other words"], 270)
    other.save(interrupted.with_name("other.json"))
    refused("vocabulary.json", interrupted.with_name("other.json").read_bytes(), "not the one that the run began with")
    for name in STATES:
        (interrupted / name).write_bytes(b"torn")
    refused("state-a.h5", None, "not an HDF5 file")
    (interrupted / "state-b.h5").unlink()
    refused("state-a.h5", None, "are missing")


def test_the_state_of_another_run_is_refused(small, interrupted, tmp_path):
    config, _ = small
    pretrain(replace(config, seed=5), tmp_path / "other")
    for name in STATES:
        shutil.copy(tmp_path / "other" / name, interrupted / name)
    with pytest.raises(CheckpointError, match="it belongs to another run"):
        resume(interrupted)


def test_a_source_that_changed_is_refused_and_one_that_is_gone_is_not_missed(small, tmp_path):
    config, _ = small
    text = tmp_path / "text.txt"
    shutil.copy(config.data[0], text)
    run = tmp_path / "run"
    pretrain(replace(config, data=(str(text),)), run)
    before = contents(run)
    text.write_text("another text")
    with pytest.raises(DataError, match=r"text\.txt has changed since the run began"):
        resume(run)
    text.unlink()
    resume(run)
    assert_same_run(run, before)


def test_a_folder_in_use_is_refused(small, interrupted, tmp_path):
    config, _ = small
    with run_lock(interrupted), pytest.raises(UsageError, match=f"process {os.getpid()} is writing there"):
        resume(interrupted)
    (tmp_path / "new").mkdir()
    with run_lock(tmp_path / "new"), pytest.raises(UsageError, match="is writing there"):
        pretrain(config, tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").iterdir()] == []


def test_tokens_are_read_from_their_file(interrupted):
    tokens = np.load(interrupted / "tokens.npy", mmap_mode="r")
    assert tokens.dtype == np.uint16
    assert isinstance(tokens, np.memmap)
    assert not tokens.flags.writeable
