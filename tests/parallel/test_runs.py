"""Every kind of run is the same in any number of processes: what is drawn, what is kept, and what is judged."""

import json

import numpy as np
import pytest
import tiny
from run_folders import log_of, undrawn_pictures
from thread_group import in_ranks

from tinygrad_gpt.errors import DataError, ParallelError, UsageError
from tinygrad_gpt.recipes.classification import finetune as classification
from tinygrad_gpt.recipes.classification import task as classification_task
from tinygrad_gpt.recipes.classification.config import FinetuneConfig
from tinygrad_gpt.recipes.instructions import instruct, preferences, reward, tuning
from tinygrad_gpt.recipes.pretraining import pretrain as pretraining
from tinygrad_gpt.recipes.pretraining import task as pretraining_task
from tinygrad_gpt.runs import run as runs
from tinygrad_gpt.runs.saved_model import save_model


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    save_model(folder / "language.h5", tiny.language_model(n_ctx=96))
    tiny.labelled_file(folder / "data.csv")
    tiny.instruction_file(folder / "pairs.json", chosen="yes, ski", rejected="no")
    tiny.text_file(folder / "text.txt", documents=5)
    return folder


def pretrain(made, out):
    config = pretraining.PretrainConfig(
        (str(made / "text.txt"),), hold_out=0.2, tokenizer="characters", n_ctx=8, n_embd=8, n_layer=1, n_head=2,
        dropout=0.1, batch_size=5, steps=200, eval_every=100, save_every=200, recompute=True)
    with undrawn_pictures(pretraining_task):
        pretraining.pretrain(config, out)


def classify(made, out, **changes):
    config = FinetuneConfig(str(made / "data.csv"), base=str(made / "language.h5"), **{
        "epochs": 2, "batch_size": 5, "accumulate": 2, "dropout": 0.2, "save_every": 4, "no_calibration": True,
        **changes})
    with undrawn_pictures(classification_task):
        classification.finetune_classifier(config, out)


def follow(made, out):
    with undrawn_pictures(tuning):
        instruct.finetune_instructions(instruct.InstructConfig(
            data=str(made / "pairs.json"), base=str(made / "language.h5"), style="phi3", epochs=3, batch_size=4,
            dropout=0.1, loss_on="response", samples=1, eval_every=5), out)


def prefer(made, out):
    with undrawn_pictures(tuning):
        preferences.finetune_preferences(preferences.PreferenceConfig(
            data=str(made / "pairs.json"), base=str(made / "language.h5"), style="phi3", epochs=2, batch_size=3,
            dropout=0.1, lr=1e-3, samples=1, eval_every=5), out)


def reinforce(made, out):
    with undrawn_pictures(tuning):
        reward.finetune_reward(reward.RewardConfig(
            data=str(made / "pairs.json"), base=str(made / "language.h5"), style="phi3", batch_size=4, dropout=0.1,
            group=2, max_new_tokens=6, samples=0), out)


RUNS = {
    "pretrain": pretrain,
    "all layers": classify,
    "last block": lambda made, out: classify(made, out, train="last-block", dropout=0.0, lm_weight=0.0),
    "head, hidden words, balanced, pretrained": lambda made, out: classify(
        made, out, hide=0.3, class_weights="balanced", pretrain_epochs=1, average=1, epochs=2),
    "instructions": follow,
    "preferences": prefer,
    "reward": reinforce,
}


def assert_same(log, expected):
    """Same steps, losses and scores, up to the rounding of sums in another order."""
    assert [entry["step"] for entry in log] == [entry["step"] for entry in expected]
    for entry, other in zip(log, expected, strict=True):
        assert entry["loss"] == pytest.approx(other["loss"], rel=1e-6, abs=1e-8), entry["step"]
        assert entry["scores"] == pytest.approx(other["scores"], rel=1e-5, abs=1e-7), entry["step"]
        assert entry["samples"] == other["samples"]


@pytest.mark.parametrize("name", RUNS)
def test_two_ranks_make_the_run_of_one(name, made, tmp_path):
    RUNS[name](made, tmp_path / "one")
    in_ranks(2, lambda group: RUNS[name](made, tmp_path / "two"), shards=name == "instructions")
    assert_same(log_of(tmp_path / "two"), log_of(tmp_path / "one"))
    names = [{path.name for path in (tmp_path / out).rglob("*")} for out in ("one", "two")]
    assert names[0] == names[1]
    if name == "all layers":
        reports = [json.loads((tmp_path / out / "report.json").read_bytes()) for out in ("one", "two")]
        assert reports[0]["test"]["accuracy"] == reports[1]["test"]["accuracy"]


def test_a_rank_whose_weights_went_astray_ends_the_run_before_it_is_saved(made, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "CHECKED", 2)
    step = runs.train_step

    def work(group):
        def broken(losses, optimizer, *args):
            figures = step(losses, optimizer, *args)
            if runs.current_group().rank == 1 and optimizer.steps == 3:
                p = optimizer.parameters[0]
                p.data.reshape(-1)[0] = np.nextafter(p.data.reshape(-1)[0], np.float32(9))
            return figures

        monkeypatch.setattr(runs, "train_step", broken)
        follow(made, tmp_path / "run")

    with pytest.raises(ParallelError, match=r"^ranks differ \(step 4\): rank 1 has other weights than rank 0; "):
        in_ranks(2, work)
    assert len(log_of(tmp_path / "run")) == 3


def test_ranks_with_other_files_or_too_few_rows_are_refused(made, tmp_path):
    def other_seed(group):
        classify(made, tmp_path / "run", seed=group.rank)

    with pytest.raises(DataError, match=r"^ranks differ \(run\): config is .* on rank 1 and .* on rank 0"):
        in_ranks(2, other_seed)
    with pytest.raises(UsageError, match=r"^more processes than rows"):
        in_ranks(6, lambda group: classify(made, tmp_path / "run"))
    assert [*(tmp_path / "run").iterdir()] == []


def test_samples_that_fail_on_the_first_rank_end_all(made, tmp_path, monkeypatch):
    def fail(*args):
        raise DataError("no samples (here): broken; mend it")

    monkeypatch.setattr(instruct.InstructTask, "samples", fail)
    with pytest.raises((DataError, ParallelError), match=r"^no samples"):
        in_ranks(2, lambda group: follow(made, tmp_path / "run"))
    assert len(log_of(tmp_path / "run")) == 5  # the step before the samples is saved
