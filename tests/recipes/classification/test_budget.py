"""Settings found within a stated time."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import tiny
from run_folders import undrawn_pictures

from tinygrad_gpt.errors import CheckpointError, UsageError
from tinygrad_gpt.files import write_atomic
from tinygrad_gpt.recipes.classification import budget, search, task
from tinygrad_gpt.recipes.classification import finetune as recipe
from tinygrad_gpt.recipes.classification.budget import find_setting, resume_search
from tinygrad_gpt.recipes.classification.config import FinetuneConfig
from tinygrad_gpt.recipes.classification.search import SETTINGS
from tinygrad_gpt.runs.progress import Progress
from tinygrad_gpt.runs.saved_model import save_model

NAMES = list(SETTINGS["decoder"])


def ignore(*args):
    """A callback that does nothing."""


CALLBACKS = {"said": ignore, "report": ignore, "ready": ignore}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    save_model(folder / "base.h5", tiny.language_model(n_ctx=12))
    data = tiny.labelled_file(folder / "three.csv")
    return FinetuneConfig(str(data), base=str(folder / "base.h5"), batch_size=16)


class Machine:
    """In the place of training: every step takes a second of a clock of its own."""

    def __init__(self, monkeypatch, steps=60, slower_after=10**9):
        self.now, self.steps, self.done, self.slower_after = 0.0, steps, [], slower_after
        monkeypatch.setattr(budget.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(budget, "validate_setting", self.validate)
        monkeypatch.setattr(budget, "resume_classifier", lambda folder, **callbacks: self.judge(folder))
        monkeypatch.setattr(budget, "_baseline", lambda config: {"accuracy": 0.5, "log_loss": 1.0, "seconds": 10.0})

    def validate(self, config, folder, report):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config.read))
        total = self.steps * config.epochs + (self.steps * 3 // 2) * config.pretrain_epochs
        begun = self.now
        for step in range(1, total + 1):
            self.now += 10 if len(self.done) >= self.slower_after else 1
            report(Progress(step, total, 0.0, 0.0, 0.0, 0, self.now - begun))
        fitting = [name for name in NAMES if all(getattr(config, key) == value
                                                 for key, value in SETTINGS["decoder"][name].items())]
        name = max(fitting, key=lambda name: len(SETTINGS["decoder"][name]), default="probe")
        self.done.append((name, config.epochs))
        accuracy = 0.6 + 0.01 * config.epochs + (0.1 if config.lr == 5e-4 else 0.0)
        return SimpleNamespace(accuracy=accuracy, log_loss=1.0)

    def judge(self, folder):
        self.now += 10
        (folder / "report.json").write_text("{}")
        return SimpleNamespace()


def test_the_better_half_is_tried_with_twice_as_many_epochs(config, tmp_path, monkeypatch):
    machine = Machine(monkeypatch)
    plain = replace(config, lr=1e-3)
    _, found = find_setting(plain, 6000, [], tmp_path / "run", **CALLBACKS)
    first = [name for name, epochs in machine.done if epochs == 1]
    second = [name for name, epochs in machine.done if epochs == 2]
    assert first[-6:] == NAMES  # behind the probe
    assert len(second) == 3
    assert set(second) >= {"last token, language-model loss", "mean of all tokens, half the rate"}
    best = found.best()
    assert best.epochs == max(epochs for _, epochs in machine.done)
    assert machine.now <= 6000
    report = json.loads((tmp_path / "run" / "report.json").read_text())["budget"]
    assert [trial["setting"] for trial in report["trials"]] == [trial.setting for trial in found.trials]
    assert not (tmp_path / "run" / "trials").exists()


@pytest.mark.parametrize("seconds", [150, 400, 1500])
@pytest.mark.parametrize("slower_after", [3, 10**9])  # a machine that becomes ten times as slow, and one that does not
def test_the_time_is_kept(seconds, slower_after, config, tmp_path, monkeypatch):
    machine = Machine(monkeypatch, slower_after=slower_after)
    _, found = find_setting(replace(config, lr=1e-3), seconds, [], tmp_path / "run", **CALLBACKS)
    assert machine.now <= 1.1 * seconds
    assert found.best() is not None
    assert all(trial.accuracy is not None for trial in found.trials)


def test_a_time_that_is_too_short_leaves_nothing(config, tmp_path, monkeypatch):
    Machine(monkeypatch, steps=600)
    with pytest.raises(UsageError, match=r"budget of 60 s \(three\.csv\): training and what follows take about"):
        find_setting(config, 60, [], tmp_path / "run", **CALLBACKS)
    assert list(tmp_path.iterdir()) == []


def test_texts_with_several_labels_are_refused(config, tmp_path):
    (tmp_path / "several.csv").write_text("text,label\n" + "".join(
        f"{text},{'a;b' if i % 2 else 'a'}\n" for i, (text, _) in enumerate(tiny.texts(30))))
    several = replace(config, data=str(tmp_path / "several.csv"), label_separator=";")
    with pytest.raises(UsageError, match=r"no search \(several\.csv\): its texts have several labels"):
        find_setting(several, 60, [], tmp_path / "run", **CALLBACKS)
    assert not (tmp_path / "run").exists()


def test_what_is_given_stays(config, tmp_path, monkeypatch):
    machine = Machine(monkeypatch)
    given = replace(config, lr=1e-3, epochs=2, read="mean", no_causal_mask=True, lm_weight=0.0)
    _, found = find_setting(given, 5000, ["epochs", "lr", "read", "no_causal_mask", "lm_weight"], tmp_path / "run",
                             **CALLBACKS)
    assert {trial.epochs for trial in found.trials} == {2}
    assert [trial.changes for trial in found.trials] == [
        {}, {"pretrain_epochs": 3}, {"pretrain_epochs": 3, "layer_decay": 0.8}, {"average": 1}]
    assert machine.now <= 5000


@pytest.fixture
def short(monkeypatch):
    """Real trials of one epoch, of which the clock does not run; no pictures."""
    monkeypatch.setattr(budget.time, "monotonic", lambda: 0.0)
    monkeypatch.setattr(search, "FEWEST_STEPS", 1)
    monkeypatch.setattr(search, "MOST_EPOCHS", 1)
    monkeypatch.setitem(SETTINGS, "decoder", {name: SETTINGS["decoder"][name] for name in NAMES[:2]})
    monkeypatch.setattr(budget, "bag_of_words", lambda data, split: None)
    monkeypatch.setattr(recipe, "bag_of_words", lambda data, split: None)
    monkeypatch.setattr(recipe, "draw_confusion", lambda path, *args: write_atomic(path, repr(args).encode()))
    with undrawn_pictures(task):
        yield


@pytest.mark.usefixtures("short")
def test_a_search_that_was_stopped_finds_the_same(config, tmp_path):
    whole, _ = find_setting(config, 60, [], tmp_path / "whole", **CALLBACKS)
    calls = iter(range(1000))

    def ready():
        if next(calls) == 5:  # in the first trial
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_setting(config, 60, [], tmp_path / "run", said=ignore, report=ignore, ready=ready)
    assert (tmp_path / "run" / "trials" / "01" / "state-a.h5").exists()
    with pytest.raises(UsageError, match="a run is already there; resume it"):
        find_setting(config, 60, [], tmp_path / "run", **CALLBACKS)
    with pytest.raises(UsageError, match=r"the run has a budget of 60 seconds; leave it out"):
        resume_search(tmp_path / "run", {"budget": 90.0}, **CALLBACKS)
    resumed, found = resume_search(tmp_path / "run", {"budget": 60.0, "data": config.data}, **CALLBACKS)
    assert resumed.test == whole.test
    assert (tmp_path / "run" / "model.h5").read_bytes() == (tmp_path / "whole" / "model.h5").read_bytes()
    assert [trial.setting for trial in found.trials] == NAMES[:2]
    (tmp_path / "run" / "budget.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"budget\.json\): the file is damaged"):
        resume_search(tmp_path / "run", {}, **CALLBACKS)
