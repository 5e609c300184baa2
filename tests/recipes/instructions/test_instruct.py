"""Instruction finetuning: what counts, what a run leaves, and that a stopped run is resumed as if it had not been."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import tiny
from run_folders import assert_same_run, log_of, undrawn_pictures

from tinygrad_gpt import ops
from tinygrad_gpt.backend import use_backend
from tinygrad_gpt.data.instructions import Instruction, collate
from tinygrad_gpt.data.prompt_styles import STYLES
from tinygrad_gpt.errors import CheckpointError, DataError, ResourceError, TinygradError, UsageError
from tinygrad_gpt.recipes.instructions import tuning
from tinygrad_gpt.recipes.instructions.instruct import (
    InstructConfig,
    InstructTask,
    counted_activations,
    encode,
    finetune_instructions,
    masked_tokens,
    resume_instructions,
)
from tinygrad_gpt.recipes.instructions.respond import conversation_prompt
from tinygrad_gpt.runs.saved_model import load_model, save_model

REPOSITORY = Path(__file__).resolve().parents[3]
FILES = {"config.json", "curves.png", "log.jsonl", "model.h5", "samples.txt", "state-a.h5", "state-b.h5"}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    save_model(folder / "base.h5", tiny.language_model(n_ctx=96))
    data = tiny.instruction_file(folder / "tasks.json")
    return InstructConfig(data=str(data), base=str(folder / "base.h5"), style="phi3", epochs=2, batch_size=3,
                          accumulate=2, lr=1e-2, dropout=0.1, eval_every=2, save_every=2, samples=1)


@pytest.fixture(autouse=True, scope="module")
def plain_pictures():
    with undrawn_pictures(tuning):
        yield


@pytest.fixture(scope="module", params=["all", "lora"])
def run(request, config, tmp_path_factory):
    """Settings, an uninterrupted run, and a copy of its folder after step 3, whose newest state is of step 2."""
    folder, config = tmp_path_factory.mktemp("runs"), replace(config, train=request.param)

    def report(progress):
        if progress.step == 3:
            shutil.copytree(folder / "whole", folder / "half")

    finetune_instructions(config, folder / "whole", report=report)
    (folder / "half" / ".lock").unlink()
    return config, folder / "whole", folder / "half"


def test_a_run_learns_and_leaves_its_files(run):
    _, whole, _ = run
    log, saved = log_of(whole), load_model(whole)
    assert {path.name for path in whole.iterdir()} == FILES
    assert [line["step"] for line in log] == list(range(1, 7))  # 17 entries, 3 a batch, 2 batches a step, 2 epochs
    assert [line["step"] for line in log if line["scores"]] == [2, 4, 6]
    assert saved.provenance["after"] == log[-1]["scores"]
    assert saved.provenance["after"]["validation_loss"] < saved.provenance["before"]["validation_loss"] - 0.1
    assert saved.provenance["counts"].startswith("17 training, 1 validation, 2 test entries")
    assert saved.provenance["config"]["data"] == "tasks.json"
    assert set(saved.provenance["sha256"]) == {"tasks.json", "base.h5"}
    samples = (whole / "samples.txt").read_text()
    assert samples.startswith("--- after step 2\n\nSay ")
    assert "\n>> " in samples


def test_a_resumed_run_is_the_uninterrupted_one(run, tmp_path):
    _, whole, half = run
    resumed = shutil.copytree(half, tmp_path / "resumed")
    resume_instructions(resumed)
    assert_same_run(resumed, whole)


@pytest.mark.parametrize("stop", [1, 6])
def test_a_run_that_is_stopped_saves_its_state(stop, run, tmp_path):
    config, whole, _ = run

    def report(progress):
        if progress.step == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune_instructions(config, tmp_path, report=report)
    assert not (tmp_path / "model.h5").exists()
    resume_instructions(tmp_path, {"lr": 1e-2, "data": config.data})
    assert_same_run(tmp_path, whole)


KILLED = """
import json, os, signal, sys
from tinygrad_gpt import files
from tinygrad_gpt.recipes.instructions import instruct
from tinygrad_gpt.runs.folder import holds_run

settings, out, left = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])

def replace(*paths):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    os.replace(*paths)

files.system.replace = replace
if holds_run(out):
    instruct.resume_instructions(out)
else:
    instruct.finetune_instructions(instruct.InstructConfig(**settings), out)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_killed_run_goes_on_as_if_it_had_not_been(run, tmp_path):
    config, whole, _ = run
    for renames in ("4", "6"):  # in the state after step 2, and, resumed at step 0, in the samples after step 4
        done = subprocess.run([sys.executable, "-c", KILLED, json.dumps(asdict(config)), tmp_path / "run", renames],
                              cwd=REPOSITORY, capture_output=True, timeout=120)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert any(path.suffix == ".tmp" for path in (tmp_path / "run").iterdir())
    resume_instructions(tmp_path / "run")
    (tmp_path / "run" / ".lock").unlink(missing_ok=True)
    assert_same_run(tmp_path / "run", whole)


def test_a_finished_run_is_resumed_without_change(run, tmp_path):
    again = shutil.copytree(run[1], tmp_path / "again")
    before = {path.name: path.stat().st_mtime_ns for path in again.iterdir()}
    assert resume_instructions(again).provenance == load_model(run[1]).provenance
    assert {path.name: path.stat().st_mtime_ns for path in again.iterdir()} == before


def test_what_stands_in_the_way_is_named(run, config, tmp_path):
    own, whole, half = run
    with pytest.raises(UsageError, match="a run is already there; resume it"):
        finetune_instructions(own, whole)
    with pytest.raises(UsageError, match=r"lr is 0\.5, but the run has 0\.01"):
        resume_instructions(half, {"lr": 0.5})
    with pytest.raises(UsageError, match="style is 'poem'; choose one of"):
        replace(config, style="poem")
    with pytest.raises(UsageError, match="loss_on is 'some'; choose one of all, response"):
        replace(config, loss_on="some")
    save_model(tmp_path / "short.h5", tiny.language_model(n_ctx=16))
    with pytest.raises(DataError, match=r"prompts too long .*: they fill the model's context of 16 tokens"):
        finetune_instructions(replace(config, base=str(tmp_path / "short.h5")), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_memory_that_is_not_there_is_refused_before_anything_is_written(config, tmp_path):
    with pytest.raises(ResourceError, match=r"cannot train .memory.: it takes about .* or LoRA$"):
        finetune_instructions(replace(config, batch_size=10**8), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_changed_file_is_noticed(config, tmp_path):
    data = shutil.copy(config.data, tmp_path / "tasks.json")

    def report(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune_instructions(replace(config, data=str(data)), tmp_path / "run", report=report)
    tiny.instruction_file(tmp_path / "tasks.json", 21)
    with pytest.raises(CheckpointError, match=r"tasks\.json changed since it was started"):
        resume_instructions(tmp_path / "run")


def test_every_backend_trains_alike(config, backend, tmp_path):
    log, expected = [], []
    finetune_instructions(replace(config, epochs=1, samples=0), tmp_path / "run", report=log.append)
    use_backend("numpy")
    finetune_instructions(replace(config, epochs=1, samples=0), tmp_path / "numpy", report=expected.append)
    for one, other in zip(log, expected, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-5)
        assert one.scores == pytest.approx(other.scores, rel=1e-5)


def test_only_what_counts_is_computed_and_gives_the_same_loss():
    model = tiny.language_model().model
    ids, targets = collate([[1, 2, 3, 4, 5], [6, 7], [8, 9, 10]], 299, 16, masked=[3, 1, 2])
    x, picked, rows = counted_activations(model, ids, targets)
    assert x.shape == (len(picked), model.config.n_embd)
    assert rows.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert picked.tolist() == [4, 5, 299, 7, 299, 10, 299]
    whole = ops.cross_entropy(model(ids), targets)
    assert model.head_loss(x, picked).item() == pytest.approx(whole.item(), rel=1e-6)


def test_long_prompts_are_left_out_and_long_texts_cut():
    tokenizer, entries = tiny.language_model().tokenizer, [
        Instruction("x" * n, "", "y" * 5) for n in (1, 20, 60)]
    marks = len(tokenizer.encode(STYLES["phi3"].prompt([""])))
    sequences = encode(tokenizer, STYLES["phi3"], entries, ["y" * 5] * 3, n_ctx=marks + 20)
    assert (len(sequences.tokens), sequences.left_out, sequences.truncated) == (2, 1, 1)
    assert sequences.prompts == [marks + 1, marks + 20]


@pytest.mark.parametrize("loss_on", ["all", "response"])
def test_tokens_that_count(loss_on, config):
    shown = masked_tokens(replace(config, loss_on=loss_on), 2)
    assert len(shown) == 2
    entries = json.loads(Path(config.data).read_text())
    for tokens, entry in zip(shown, entries, strict=False):
        text = "".join(token for token, _ in tokens)
        counted = "".join(token for token, counts in tokens if counts)
        response = entry["output"] + "<|end|><|endoftext|>"
        assert text.startswith(f"<|user|>\n{entry['instruction']}")
        padding = text[text.index(response) + len(response):]
        assert padding == "<|endoftext|>" * padding.count("<|endoftext|>")
        assert counted == (response if loss_on == "response" else text[1:text.index(response)] + response)


def test_a_conversation_forgets_its_oldest_turns():
    saved, style = tiny.language_model(n_ctx=96), STYLES["phi3"]
    requests, responses = ["one", "two", "three"], ["1", "2"]
    whole = style.prompt(requests, responses)
    length = len(saved.tokenizer.encode(whole))
    assert length > 96 - 10
    prompt, dropped = conversation_prompt(saved, style, requests, responses, room=10)
    assert dropped >= 1
    assert prompt == style.prompt(requests[dropped:], responses[dropped:])
    assert len(saved.tokenizer.encode(prompt)) + 10 <= 96
    assert conversation_prompt(saved, style, ["one"], [], room=10) == (style.prompt(["one"]), 0)
    assert conversation_prompt(saved, style, requests, responses, room=95) == (style.prompt(["three"]), 2)


def test_a_picture_that_cannot_be_drawn_costs_no_model(run, tmp_path, monkeypatch):
    config, whole, _ = run

    def broken(*args, **settings):
        raise TinygradError("cannot draw (curves.png): no; reinstall matplotlib")

    with monkeypatch.context() as patch:
        patch.setattr(tuning, "draw_curves", broken)
        with pytest.raises(TinygradError, match="cannot draw"):
            finetune_instructions(config, tmp_path / "run")
    assert (tmp_path / "run" / "model.h5").read_bytes() == (whole / "model.h5").read_bytes()
    resume_instructions(tmp_path / "run")
    assert_same_run(tmp_path / "run", whole)


def test_the_curves_are_of_the_same_loss(run):
    _, whole, _ = run
    drawn = (whole / "curves.png").read_text()
    judged = [line["scores"] for line in log_of(whole) if line["scores"]]
    for part in ("training", "validation"):
        assert f"'{part}': ([0, 2, 4, 6], [" in drawn
        assert f"{judged[-1][f'{part}_loss']!r}])" in drawn


def test_an_evaluation_that_fails_at_the_last_step_costs_no_model(run, tmp_path, monkeypatch):
    config, whole, _ = run
    scores = InstructTask.scores
    calls = []

    def fail(task):
        calls.append(task)
        if len(calls) == 4:  # before the first step, and after steps 2, 4 and 6
            raise DataError("cannot evaluate (data): no; try")
        return scores(task)

    with monkeypatch.context() as patch:
        patch.setattr(InstructTask, "scores", fail)
        with pytest.raises(DataError, match="cannot evaluate"):
            finetune_instructions(config, tmp_path / "run")
    weights = [load_model(folder).model.arrays() for folder in (whole, tmp_path / "run")]
    assert all(array.tobytes() == weights[1][key].tobytes() for key, array in weights[0].items())
    resume_instructions(tmp_path / "run")
    assert_same_run(tmp_path / "run", whole)
