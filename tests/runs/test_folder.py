"""Folders of runs: what is refused, and what is read back."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from tinygrad_gpt.checkpoints import native
from tinygrad_gpt.errors import CheckpointError, UsageError
from tinygrad_gpt.runs.folder import (
    Log,
    States,
    check_given,
    holds_model,
    holds_run,
    read_run,
    refuse_second_run,
    run_digest,
    write_run,
    write_samples,
)
from tinygrad_gpt.runs.progress import Progress

NOTES = {"config": {"lr": 0.1}, "name": "é"}


def entry(step, samples=()):
    return Progress(step, 9, 1.5, 0.5, 0.1, 10 * step, 1.0, samples=list(samples))


@pytest.mark.parametrize(("name", "what"), [("model.h5", "finished run"), ("model.safetensors", "model")])
def test_no_run_is_started_where_a_model_is(name, what, tmp_path):
    assert not holds_model(tmp_path)
    (tmp_path / name).touch()
    assert holds_model(tmp_path)
    with pytest.raises(UsageError, match=rf"cannot start \(.*\): a {what} is there; choose another folder"):
        refuse_second_run(tmp_path)


def test_a_run_is_read_back_and_no_second_one_started(tmp_path):
    assert not holds_run(tmp_path)
    refuse_second_run(tmp_path)
    with pytest.raises(UsageError, match="no run was started there"):
        read_run(tmp_path)
    write_run(tmp_path, NOTES)
    assert holds_run(tmp_path)
    assert read_run(tmp_path) == NOTES
    with pytest.raises(UsageError, match="a run is already there; resume it or choose another folder"):
        refuse_second_run(tmp_path)


@pytest.mark.parametrize("damage", [
    lambda text: text[:-10],
    lambda text: text.replace("0.1", "0.2"),
    lambda text: json.dumps([text]),
    lambda text: "",
])
def test_an_edited_run_is_refused(damage, tmp_path):
    write_run(tmp_path, NOTES)
    path = tmp_path / "config.json"
    path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(CheckpointError, match="the file is damaged or was edited"):
        read_run(tmp_path)


def test_other_settings_are_refused(tmp_path):
    config = SimpleNamespace(lr=0.002, seed=1)
    check_given(tmp_path, config, {"lr": 0.002})
    with pytest.raises(UsageError, match=r"lr is 0\.1, but the run has 0\.002; leave it out"):
        check_given(tmp_path, config, {"seed": 1, "lr": 0.1})


def test_the_digest_is_of_the_values():
    assert run_digest({"a": 1, "b": 2}) == run_digest({"b": 2, "a": 1})
    assert run_digest({"a": 1}) != run_digest({"a": 2})


def test_the_two_newest_states_are_kept(tmp_path):
    states = States(tmp_path, "run")
    for step in (1, 2, 3):
        states.save(step, {"x": np.full(2, step, np.float32)})
    assert {path.name for path in tmp_path.iterdir()} == {"state-a.h5", "state-b.h5"}
    assert States(tmp_path, "run").load()["x"].tolist() == [3, 3]
    (tmp_path / "state-a.h5").write_bytes(b"torn")  # of step 3: a, b, a
    again = States(tmp_path, "run")
    with pytest.warns(UserWarning, match=r"state-a\.h5\): .*; resumed from the other state, of step 2"):
        assert again.load()["x"].tolist() == [2, 2]
    again.save(3, {"x": np.full(2, 3, np.float32)})
    assert States(tmp_path, "run").load()["x"].tolist() == [3, 3]


def test_a_state_is_not_written_twice(tmp_path):
    states = States(tmp_path, "run")
    states.save(1, {"x": np.zeros(1, np.float32)})
    states.save(1, {"x": np.ones(1, np.float32)})
    assert [path.name for path in tmp_path.iterdir()] == ["state-a.h5"]
    assert states.load()["x"].tolist() == [0]


def test_states_that_cannot_be_used_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"state-a\.h5 and state-b\.h5 are missing"):
        States(tmp_path, "run").load()
    States(tmp_path, "run").save(1, {"x": np.zeros(1, np.float32)})
    with pytest.raises(CheckpointError, match="it belongs to another run"):
        States(tmp_path, "other").load()


@pytest.mark.parametrize("step", [-1, 2**63, 10**40, 0.5, "7", "x" * 10**6, None, True, [1], {"a": 1}])
def test_a_state_of_no_step_is_refused_and_the_other_one_is_used(step, tmp_path):
    native.save(tmp_path / "state-a.h5", {}, {"kind": "training state", "run": "run", "step": step})
    with pytest.raises(CheckpointError, match=r"state-a\.h5\): its step is .*, expected a whole number; ") as caught:
        States(tmp_path, "run").load()
    assert len(str(caught.value)) <= 240
    native.save(tmp_path / "state-b.h5", {}, {"kind": "training state", "run": "run", "step": 3})
    states = States(tmp_path, "run")
    states.load()
    assert states.step == 3


def test_a_log_drops_steps_that_will_be_done_again(tmp_path):
    path = tmp_path / "log.jsonl"
    log = Log(path)
    for step in (1, 2, 3):
        log.append(entry(step))
    with path.open("ab") as file:
        file.write(b'{"step": 4, "to')  # torn
    resumed = Log(path, 2)
    assert resumed.entries == [entry(1), entry(2)]
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2]
    assert Log(path).entries == []
    assert path.read_bytes() == b""


@pytest.mark.parametrize("change", [
    {"step": "1"}, {"step": -1}, {"step": None}, {"step": 0.5}, {"loss": "x"}, {"lr": None}, {"scores": []},
    {"scores": {"a": "b"}}, {"samples": "x"}, {"colour": 1}])
def test_a_line_of_the_log_that_is_no_step_is_left_out(change, tmp_path):
    log = Log(tmp_path / "log.jsonl")
    log.append(Progress(1, 3, 0.5, 1.0, 0.1, 7, 2.0, {"a": 0.5}, ["text"]))
    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
    nested = "[" * 100_000
    (tmp_path / "log.jsonl").write_text(f"{line}\n{json.dumps(json.loads(line) | change)}\n{nested}\n")
    with pytest.warns(UserWarning, match=r"log\.jsonl: 2 of the 3 steps that were done are missing; they will"):
        assert Log(tmp_path / "log.jsonl", 3).entries == log.entries


def test_samples_are_those_of_all_steps(tmp_path):
    write_samples(tmp_path, [entry(1, ["one"]), entry(2), entry(1000, ["two", "three"])])
    assert (tmp_path / "samples.txt").read_text() == (
        "--- after step 1\n\none\n\n--- after step 1,000\n\ntwo\n\n--- after step 1,000\n\nthree\n")
