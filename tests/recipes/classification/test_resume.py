"""A finetuning that was stopped, killed or could not be drawn is resumed as if it had not been."""

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

from tinygrad_gpt.errors import CheckpointError, TinygradError
from tinygrad_gpt.files import write_atomic
from tinygrad_gpt.recipes.classification import finetune as recipe
from tinygrad_gpt.recipes.classification import task
from tinygrad_gpt.recipes.classification.config import FinetuneConfig
from tinygrad_gpt.recipes.classification.finetune import finetune_classifier, resume_classifier
from tinygrad_gpt.runs.saved_model import load_model, save_model

REPOSITORY = Path(__file__).resolve().parents[3]
WAYS = {
    "all": {}, "lora": {"train": "lora", "rank": 4}, "last block": {"train": "last-block"},
    "kept activations": {"train": "last-block", "dropout": 0.0, "lm_weight": 0.0},
    "every choice": {"layer_decay": 0.5, "unfreeze": 0.4, "average": 2, "hide": 0.2, "head_dropout": 0.2,
                     "read": "concat", "context": "15"},
    "teachers": {"teachers": ("bag-of-words",), "recombined": 20},
    "float16": {"precision": "float16", "accumulate": 2},
}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    save_model(folder / "base.h5", tiny.language_model(n_ctx=12))
    data = tiny.labelled_file(folder / "three.csv")
    return FinetuneConfig(str(data), base=str(folder / "base.h5"), epochs=2, lr=1e-2, batch_size=8, save_every=2)


@pytest.fixture(autouse=True, scope="module")
def plain_pictures():
    """Drawing, and the bag of words, take ten times as long as these runs."""
    with undrawn_pictures(task), pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "draw_confusion", lambda path, *args: write_atomic(path, repr(args).encode()))
        patch.setattr(recipe, "bag_of_words", lambda data, split: None)
        yield


@pytest.mark.parametrize("way", WAYS)
def test_a_resumed_run_is_the_uninterrupted_one(way, config, tmp_path):
    config = replace(config, **WAYS[way])
    whole, half = tmp_path / "whole", tmp_path / "half"

    def copy(progress):
        if progress.step == 3:
            shutil.copytree(whole, half)

    result = finetune_classifier(config, whole, copy)
    (half / ".lock").unlink()
    assert not (half / "model.h5").exists()
    assert resume_classifier(half, {"lr": 1e-2, "data": config.data}).test == result.test
    assert_same_run(half, whole)
    before = {path.name: path.read_bytes() for path in whole.iterdir()}
    resume_classifier(whole)  # a finished run is judged again, with the same result
    assert {path.name: path.read_bytes() for path in whole.iterdir()} == before


@pytest.mark.parametrize("stop", [1, 6, 12])
def test_a_run_that_is_stopped_saves_its_state(stop, config, tmp_path):
    def report(progress):
        if progress.step == stop:
            raise KeyboardInterrupt

    finetune_classifier(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        finetune_classifier(config, tmp_path / "run", report)
    resume_classifier(tmp_path / "run")
    assert_same_run(tmp_path / "run", tmp_path / "whole")


KILLED = """
import json, os, signal, sys
from tinygrad_gpt import files
from tinygrad_gpt.recipes.classification import finetune, task
from tinygrad_gpt.runs.folder import holds_run

settings, out, left = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])
draw = lambda path, *args, **settings: files.write_atomic(path, repr(args).encode())
task.draw_curves = finetune.draw_confusion = draw
finetune.bag_of_words = lambda data, split: None

def replace(*paths):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    os.replace(*paths)

files.system.replace = replace
if holds_run(out):
    finetune.resume_classifier(out)
else:
    finetune.finetune_classifier(finetune.FinetuneConfig(**settings), out)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_killed_run_goes_on_as_if_it_had_not_been(config, tmp_path):
    finetune_classifier(config, tmp_path / "whole")
    # In the first state, in the state after step 2, in the last curves; then between the two times that the model is
    # written, and in the report.
    for renames in ("1", "4", "13", "3", "4"):
        done = subprocess.run([sys.executable, "-c", KILLED, json.dumps(asdict(config)), tmp_path / "run", renames],
                              cwd=REPOSITORY, capture_output=True, timeout=120)
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert (tmp_path / "run" / "model.h5").exists()
    resume_classifier(tmp_path / "run")
    (tmp_path / "run" / ".lock").unlink(missing_ok=True)
    for left in (tmp_path / "run").glob(".*.tmp"):
        left.unlink()
    written = {name: (tmp_path / "run" / name).read_bytes() for name in ("model.h5", "report.json", "confusion.png")}
    assert written == {name: (tmp_path / "whole" / name).read_bytes() for name in written}
    assert log_of(tmp_path / "run") == log_of(tmp_path / "whole")


def broken(*args, **settings):
    raise TinygradError("cannot go on (here): no; try")


@pytest.mark.parametrize(("module", "name", "there"), [
    (recipe, "predict", {"model.h5"}),
    (recipe, "bag_of_words", {"model.h5", "report.json"}),
    (task, "draw_curves", {"model.h5", "report.json"}),
    (recipe, "draw_confusion", {"model.h5", "report.json", "curves.png"}),
])
def test_what_fails_behind_the_training_costs_no_model(module, name, there, config, tmp_path, monkeypatch):
    short = replace(config, epochs=1, no_calibration=True)  # what is saved first is not calibrated
    finetune_classifier(short, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(module, name, broken)
        with pytest.raises(TinygradError, match="cannot go on"):
            finetune_classifier(short, tmp_path / "run")
    assert there <= {path.name for path in (tmp_path / "run").iterdir()}
    weights = [load_model(tmp_path / folder).model.arrays() for folder in ("whole", "run")]
    assert all(array.tobytes() == weights[1][key].tobytes() for key, array in weights[0].items())
    resume_classifier(tmp_path / "run")
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_an_evaluation_that_fails_at_the_last_step_costs_no_model(config, tmp_path, monkeypatch):
    short = replace(config, epochs=1, train="lora", rank=4, no_calibration=True)
    finetune_classifier(short, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(task, "predict", broken)
        with pytest.raises(TinygradError, match="cannot go on"):
            finetune_classifier(short, tmp_path / "run")
    weights = [load_model(tmp_path / folder).model.arrays() for folder in ("whole", "run")]
    assert all(array.tobytes() == weights[1][key].tobytes() for key, array in weights[0].items())
    resume_classifier(tmp_path / "run")
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_a_folder_in_the_place_of_a_picture_costs_no_model(config, tmp_path):
    (tmp_path / "curves.png").mkdir()
    with pytest.raises(TinygradError, match=r"cannot write \(.*curves\.png\): it is a folder"):
        finetune_classifier(replace(config, epochs=1), tmp_path)
    assert load_model(tmp_path).provenance["test_accuracy"] > 0


def test_changed_files_are_noticed(config, tmp_path):
    data = shutil.copy(config.data, tmp_path / "three.csv")

    def report(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune_classifier(replace(config, data=str(data)), tmp_path / "run", report)
    tiny.labelled_file(tmp_path / "three.csv", 63)
    with pytest.raises(CheckpointError, match=r"three\.csv .*changed since it was started"):
        resume_classifier(tmp_path / "run")


def test_each_epoch_has_the_same_figures_of_both_parts(config, tmp_path):
    finetune_classifier(config, tmp_path)
    judged = [entry["scores"] for entry in log_of(tmp_path) if entry["scores"]]
    assert len(judged) == config.epochs
    for scores in judged:
        assert 0 <= scores["training_accuracy"] <= 1
        assert scores["training_loss"] > 0
    drawn = (tmp_path / "curves.png").read_text()
    assert drawn.count("'training': ([6, 12]") == 2
    assert "'top': ('texts seen', 7.0)" in drawn  # 42 texts in 6 steps
