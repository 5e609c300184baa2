"""Pretraining: what a run leaves, what it refuses, and that a stopped and resumed one is the uninterrupted one."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import fake_cublas
import numpy as np
import pytest
import tiny
from run_folders import assert_same_run, log_of, undrawn_pictures

from tinygrad_gpt.backend import backend_of, on_backend, use_backend
from tinygrad_gpt.book.initial_values import initial_values
from tinygrad_gpt.checkpoints import native
from tinygrad_gpt.data.pretraining import consecutive_batch
from tinygrad_gpt.errors import DataError, ResourceError, TinygradError, UsageError
from tinygrad_gpt.figures.perplexity import measure_perplexity
from tinygrad_gpt.random import TorchStream
from tinygrad_gpt.recipes.pretraining import pretrain as recipe
from tinygrad_gpt.recipes.pretraining import task as pretrain_task
from tinygrad_gpt.recipes.pretraining.pretrain import PretrainConfig, pretrain, resume
from tinygrad_gpt.runs.folder import holds_run
from tinygrad_gpt.runs.saved_model import load_model, save_model

FILES = {"config.json", "curves.png", "log.jsonl", "model.h5", "samples.txt", "state-a.h5", "state-b.h5", "tokens.npy",
         "validation.npy", "vocabulary.json"}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    text = str(tiny.text_file(tmp_path_factory.mktemp("data") / "a.txt"))
    return PretrainConfig((text,), hold_out=0.2, vocab_size=280, n_ctx=8, n_embd=16, n_layer=1, n_head=2, dropout=0.1,
                          steps=6, batch_size=4, lr=1e-2, warmup=2, eval_every=3, save_every=2, sample=("a bug",))


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    """An uninterrupted run, and a copy of its folder after step 3, whose newest state is of step 2."""
    folder = tmp_path_factory.mktemp("runs")

    def report(progress):
        if progress.step == 3:
            shutil.copytree(folder / "whole", folder / "half")

    pretrain(config, folder / "whole", report=report)
    (folder / "half" / ".lock").unlink()
    return folder / "whole", folder / "half"


@pytest.fixture(autouse=True, scope="module")
def plain_pictures():
    with undrawn_pictures(pretrain_task):
        yield


@pytest.mark.parametrize("precision", ["bfloat16", "tf32"])
def test_a_precision_that_the_gpu_lacks_is_refused_before_a_folder_is_made(config, precision, tmp_path):
    with fake_cublas.card(75), on_backend("strict"), pytest.raises(UsageError, match="use float16 or float32"):
        pretrain(replace(config, precision=precision), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_run_learns_and_leaves_its_files(run, config):
    whole, _ = run
    log = log_of(whole)
    assert {path.name for path in whole.iterdir()} == FILES
    assert [line["step"] for line in log] == list(range(1, 7))
    assert [line["step"] for line in log if line["scores"]] == [3, 6]
    assert log[-1]["loss"] < log[0]["loss"]
    assert log[-1]["scores"]["validation_loss"] < log[2]["scores"]["validation_loss"]
    assert log[-1]["scores"]["perplexity"] == pytest.approx(np.exp(log[-1]["scores"]["validation_loss"]))
    provenance = load_model(whole).provenance
    assert provenance["tokens_seen"] == 6 * 4 * 8
    assert provenance["step"] == 6
    assert provenance["bits_per_byte"] == log[-1]["scores"]["bits_per_byte"]
    assert provenance["config"]["data"] == ["a.txt"]
    assert list(provenance["sha256"]) == ["a.txt"]
    assert "/" not in json.dumps(provenance)  # no folder of the machine that trained it


def test_samples_are_in_the_log_and_in_a_file(run):
    samples = [line["samples"] for line in log_of(run[0])]
    assert [len(texts) for texts in samples] == [0, 0, 1, 0, 0, 1]
    assert samples[2][0].startswith("a bug")
    text = (run[0] / "samples.txt").read_text()
    assert text.startswith(f"--- after step 3\n\n{samples[2][0]}\n")
    assert f"--- after step 6\n\n{samples[5][0]}\n" in text


def test_every_backend_trains_alike(config, backend, tmp_path):
    log = []
    saved = pretrain(replace(config, steps=2, accumulate=2), tmp_path / "run", report=log.append)
    assert backend_of(saved.model.wte.weight.data) is backend
    reference = []
    use_backend("numpy")
    pretrain(replace(config, steps=2, accumulate=2), tmp_path / "numpy", report=reference.append)
    assert [p.loss for p in log] == pytest.approx([p.loss for p in reference], rel=1e-5)
    assert log[-1].scores == pytest.approx(reference[-1].scores, rel=1e-5)


def test_a_run_moves_between_backends(config, run, tmp_path):
    """Weights, moments, masks and windows: what one backend saved, another takes up, and gives back."""
    def stop(progress):
        if progress.step % 2 == 0:
            raise KeyboardInterrupt

    for name in ("numpy", "strict", "numpy"):
        with on_backend(name), pytest.raises(KeyboardInterrupt):
            resume(tmp_path, report=stop) if holds_run(tmp_path) else pretrain(config, tmp_path, report=stop)
    whole, moved = log_of(run[0]), log_of(tmp_path)
    assert [entry["step"] for entry in moved] == [1, 2, 3, 4, 5, 6]
    for one, other in zip(whole, moved, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert other["norm"] == pytest.approx(one["norm"], rel=1e-4)
    assert moved[-1]["scores"] == pytest.approx(whole[-1]["scores"], rel=1e-5)
    last = [max(folder.glob("state-*.h5"), key=lambda file: native.load_metadata(file)["step"])
            for folder in (tmp_path, run[0])]
    ours, theirs = (native.load(file).tensors for file in last)
    assert set(ours) == set(theirs)
    for name, array in theirs.items():
        np.testing.assert_allclose(*(determined(name, a) for a in (ours[name], array)), rtol=1e-3, atol=1e-6,
                                   err_msg=name)


def determined(name, array):
    """Without the bias of the keys: no softmax feels it, so its gradient is rounding, which AdamW makes large."""
    if not name.endswith("c_attn.bias"):
        return array
    queries, _, values = np.split(array, 3)
    return np.concatenate([queries, values])


def test_a_resumed_run_is_the_uninterrupted_one(run, tmp_path):
    whole, half = run
    resumed = shutil.copytree(half, tmp_path / "resumed")
    resume(resumed)
    assert_same_run(resumed, whole)


def test_a_torn_line_of_the_log_is_written_again(run, tmp_path):
    whole, half = run
    resumed = shutil.copytree(half, tmp_path / "resumed")
    with (resumed / "log.jsonl").open("a") as log:
        log.write('{"step": 4, "tot')
    resume(resumed)
    assert_same_run(resumed, whole)


@pytest.mark.parametrize("stop", [1, 4, 6])
def test_a_run_that_is_stopped_saves_its_state(stop, run, config, tmp_path):
    def report(progress):
        if progress.step == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path, report=report)
    assert load_model(tmp_path).provenance["step"] == stop
    resume(tmp_path, {"lr": 1e-2, "data": config.data})
    assert_same_run(tmp_path, run[0])


def test_a_finished_run_is_resumed_without_change(run, tmp_path):
    again = shutil.copytree(run[0], tmp_path / "again")
    steps = []
    saved = resume(again, report=steps.append)
    assert steps == []
    assert saved.provenance["step"] == 6
    assert_same_run(again, run[0])


def test_accumulated_batches_are_one_large_batch(config, tmp_path):
    logs = []
    for name, batch_size, accumulate in (("one", 8, 1), ("four", 2, 4)):
        pretrain(replace(config, batch_size=batch_size, accumulate=accumulate, dropout=0.0, steps=3, sample=()),
                 tmp_path / name)
        logs.append(log_of(tmp_path / name))
    for one, four in zip(*logs, strict=True):
        assert four["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert four["norm"] == pytest.approx(one["norm"], rel=1e-4)
        assert four["tokens"] == one["tokens"]


def test_epochs_go_over_every_window_once(config, tmp_path, monkeypatch):
    seen, text = [], tiny.text_file(tmp_path / "a.txt", documents=2)

    def watched(*args, **settings):
        ids, targets = consecutive_batch(*args, **settings)
        seen.extend(map(tuple, ids.tolist()))
        return ids, targets

    monkeypatch.setattr(pretrain_task, "consecutive_batch", watched)
    saved = pretrain(replace(config, data=(str(text),), windows="consecutive", stride=4, steps=None, epochs=2,
                             batch_size=1, accumulate=2, save_every=100, sample=()), tmp_path / "run")
    tokens = np.load(tmp_path / "run" / "tokens.npy")
    windows = sorted(tuple(tokens[start:start + 8].tolist()) for start in range(0, len(tokens) - 8, 4))
    if len(windows) % 2:  # one is left out of each epoch
        assert len(seen) == 2 * (len(windows) - 1)
        assert all(seen.count(window) <= 2 * windows.count(window) for window in windows)
    else:
        assert sorted(seen) == sorted(windows * 2)
    assert seen[:len(seen) // 2] != seen[len(seen) // 2:]
    assert saved.provenance["step"] == len(seen) // 2


def test_the_run_ends_when_it_gets_no_better_and_keeps_the_best(config, tmp_path):
    worse = replace(config, lr=0.9, min_lr=0.9, warmup=0, patience=2, eval_every=1, steps=50, sample=(), dropout=0.0)
    saved = pretrain(worse, tmp_path)
    losses = [line["scores"]["validation_loss"] for line in log_of(tmp_path)]
    best = int(np.argmin(losses))
    assert len(losses) == best + 3
    assert saved.provenance["step"] == best + 1
    assert saved.provenance["validation_loss"] == losses[best]
    tokens = np.load(tmp_path / "validation.npy")
    assert measure_perplexity(saved.model, tokens, 1).loss == pytest.approx(losses[best], rel=1e-6)
    steps = []
    resume(tmp_path, report=steps.append)
    assert steps == []


def test_a_run_goes_on_from_the_weights_of_another(run, config, tmp_path):
    base, log = load_model(run[0]), []
    plain = PretrainConfig(config.data, hold_out=0.2, base=str(run[0]), dropout=0.0, lr=1e-9, steps=1)
    saved = pretrain(plain, tmp_path / "run", report=log.append)
    assert saved.tokenizer == base.tokenizer
    assert saved.model.config == replace(base.model.config, dropout=0.0)
    np.testing.assert_allclose(saved.model.wte.weight.numpy(), base.model.wte.weight.numpy(), atol=1e-7)
    assert log[0].scores["validation_loss"] == pytest.approx(base.provenance["validation_loss"], rel=1e-5)
    assert set(saved.provenance["sha256"]) == {"a.txt", "model.h5"}
    short = pretrain(replace(plain, n_ctx=4), tmp_path / "short")
    assert short.model.config.n_ctx == 8
    assert short.provenance["tokens_seen"] == 16 * 4


def test_a_vocabulary_can_be_brought(run, config, tmp_path):
    base = load_model(run[0])
    bare = replace(config, vocab_size=None, sample=(), steps=1)
    save_model(tmp_path / "model.h5", base)
    for i, path in enumerate((run[0], run[0] / "vocabulary.json", tmp_path / "model.h5")):
        saved = pretrain(replace(bare, vocabulary=str(path)), tmp_path / str(i))
        assert saved.tokenizer == base.tokenizer


def test_a_vocabulary_of_characters(config, tmp_path):
    text = Path(config.data[0]).read_text()
    saved = pretrain(replace(config, tokenizer="characters", vocab_size=None, steps=1), tmp_path)
    assert set(saved.tokenizer.characters) == set(text.replace("<|endoftext|>", "\n"))
    assert saved.model.config.vocab_size == len(saved.tokenizer.characters) + 1
    assert load_model(tmp_path).tokenizer == saved.tokenizer


def test_the_model_of_the_book(config, tmp_path):
    saved = pretrain(replace(config, init="book", qkv_bias=False, tied_head=False, lr=1e-9, steps=1, seed=123),
                     tmp_path)
    sizes = {"vocab_size": 280, "n_ctx": 8, "n_embd": 16, "n_layer": 1}
    expected = initial_values(TorchStream(123), **sizes)
    assert set(saved.model.arrays()) == set(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(saved.model.arrays()[name], array, atol=1e-6, err_msg=name)


def test_weights_can_be_stored_in_half_precision(config, tmp_path):
    saved = pretrain(replace(config, float16=True, steps=1), tmp_path)
    weights = saved.model.wte.weight.numpy()
    np.testing.assert_array_equal(weights, weights.astype(np.float16))


def test_recompute_changes_no_number(run, config, tmp_path):
    pretrain(replace(config, recompute=True), tmp_path)
    assert log_of(tmp_path) == log_of(run[0])


def test_a_run_that_does_not_fit_into_memory_is_refused(config, tmp_path, monkeypatch):
    def refuse(needed, remedy):
        assert needed > 0
        raise ResourceError(f"too large, try {remedy}")

    monkeypatch.setattr(recipe, "check_memory", refuse)
    with pytest.raises(ResourceError, match="try --recompute"):
        pretrain(config, tmp_path / "run")
    with pytest.raises(ResourceError, match="try a smaller model"):
        pretrain(replace(config, recompute=True), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_preparation_is_told(config, tmp_path):
    told = []
    pretrain(replace(config, steps=1), tmp_path, prepare=told.append)
    assert told[0].total > 0
    assert [p.what for p in told][-1] == "training"
    assert {p.what for p in told} == {"reading (a.txt)", "counting words (a.txt)", "tokenising (a.txt)", "training"}
    assert all(p.done <= p.total for p in told)


def test_what_stands_in_the_way_is_named(run, config, tmp_path):
    whole, half = run
    with pytest.raises(UsageError, match="a run is already there; resume it"):
        pretrain(config, whole)
    with pytest.raises(UsageError, match=r"lr is 0\.001, but the run has 0\.01; leave it out"):
        resume(half, {"lr": 1e-3})
    with pytest.raises(UsageError, match="steps is 7, but the run has 6"):
        resume(half, {"steps": 7})
    with pytest.raises(UsageError, match="no run was started there"):
        resume(tmp_path / "none")
    with pytest.raises(DataError, match="cannot read"):
        pretrain(replace(config, data=("absent.txt",)), tmp_path / "none")
    with pytest.raises(DataError, match="fewer than one window of 90000 and the token behind it; give more text"):
        pretrain(replace(config, n_ctx=90_000), tmp_path / "none")
    with pytest.raises(DataError, match=r"a share of 0\.0001 of each file leaves no text to measure on"):
        pretrain(replace(config, hold_out=0.0001), tmp_path / "none")
    with pytest.raises(DataError, match="do not fill a step of 4000"):
        pretrain(replace(config, windows="consecutive", batch_size=4000), tmp_path / "none")
    with pytest.raises(UsageError, match="not a multiple of n_head"):
        pretrain(replace(config, n_embd=15), tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_a_model_beyond_the_memory_is_refused_before_it_is_made(config, tmp_path, monkeypatch):
    def made(*args):
        raise AssertionError("the model was made")

    monkeypatch.setattr(recipe, "new_model", made)
    monkeypatch.setattr(recipe, "grown", made)
    with pytest.raises(ResourceError, match="it takes about"):
        pretrain(replace(config, n_layer=1000, n_embd=8192, n_head=4), tmp_path / "new")
    base = tiny.language_model()
    save_model(tmp_path / "base.h5", base)
    with pytest.raises(ResourceError, match="it takes about"):
        pretrain(replace(config, base=str(tmp_path / "base.h5"), vocab_size=None, n_embd=None, n_head=None,
                         n_layer=10**7), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_validation_text_that_is_trained_on_is_refused(config, tmp_path):
    (tmp_path / "copy.txt").write_bytes(Path(config.data[0]).read_bytes())
    with pytest.raises(UsageError, match=r"^validation text \(.*copy\.txt\): it is .*, which is trained on; give"):
        pretrain(replace(config, hold_out=0.0, validation=(str(tmp_path / "copy.txt"),)), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_an_abandoned_start_lends_nothing(config, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    tiny.language_model().tokenizer.save(out / "vocabulary.json")
    (out / "log.jsonl").write_text('{"step": 1}\n')
    (out / "state-b.h5").write_text("torn")
    saved = pretrain(replace(config, steps=1), out)
    assert saved.tokenizer.vocab_size == 280
    assert [line["step"] for line in log_of(out)] == [1]


def test_a_picture_that_cannot_be_drawn_stops_no_run_and_costs_no_checkpoint(config, tmp_path):
    (tmp_path / "run" / "curves.png").mkdir(parents=True)
    with pytest.raises(TinygradError, match=r"curves\.png\): it is a folder"):
        pretrain(config, tmp_path / "run")
    pretrain(config, tmp_path / "whole")
    assert (tmp_path / "run" / "model.h5").read_bytes() == (tmp_path / "whole" / "model.h5").read_bytes()
    (tmp_path / "run" / "curves.png").rmdir()
    resume(tmp_path / "run")
    assert_same_run(tmp_path / "run", tmp_path / "whole")
