"""Pretraining, stopped and resumed."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import tiny

from tinygrad_gpt.backend import backend_of, use_backend
from tinygrad_gpt.errors import CheckpointError, DataError, UsageError
from tinygrad_gpt.recipes.pretrain import PretrainConfig, bits_per_byte, documents, encode_documents, pretrain
from tinygrad_gpt.recipes.saved import load_model

FILES = {"log.jsonl", "model.h5", "state.h5", "vocabulary.json"}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    text = str(tiny.text_file(tmp_path_factory.mktemp("data") / "a.txt"))
    return PretrainConfig((text,), (text,), vocab_size=280, n_ctx=8, n_embd=16, n_layer=1, n_head=2, dropout=0.1,
                          steps=12, batch_size=4, lr=1e-2, warmup=2, save_every=6)


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    """An uninterrupted run, and a copy of its folder after step 6."""
    folder = tmp_path_factory.mktemp("runs")

    def report(progress):
        if progress.step == 6:
            shutil.copytree(folder / "whole", folder / "half")

    pretrain(config, folder / "whole", report=report)
    return folder / "whole", folder / "half"


def log_of(folder):
    """The log without the clock."""
    return [{**json.loads(line), "seconds": 0} for line in (folder / "log.jsonl").read_text().splitlines()]


def assert_same_run(folder, other):
    assert {path.name for path in folder.iterdir()} == FILES
    for name in FILES - {"log.jsonl"}:
        assert (folder / name).read_bytes() == (other / name).read_bytes()
    assert log_of(folder) == log_of(other)


def test_a_run_learns_and_leaves_its_files(run):
    whole, half = run
    log = log_of(whole)
    assert [line["step"] for line in log] == list(range(1, 13))
    assert [line["step"] for line in log if line["scores"]] == [6, 12]
    assert log[-1]["loss"] < log[0]["loss"]
    assert log[-1]["scores"]["bits_per_byte"] < log[5]["scores"]["bits_per_byte"] < 8
    saved = load_model(whole)
    assert saved.provenance["tokens_seen"] == 12 * 4 * 8
    assert saved.provenance["bits_per_byte"] == log[-1]["scores"]["bits_per_byte"]
    assert {path.name for path in half.iterdir()} == FILES - {"model.h5"}


def test_every_backend_trains_alike(config, backend, tmp_path):
    log = []
    saved = pretrain(replace(config, steps=2), tmp_path / "run", report=log.append)
    assert backend_of(saved.model.wte.weight.data) is backend
    reference = []
    use_backend("numpy")
    pretrain(replace(config, steps=2), tmp_path / "numpy", report=reference.append)
    assert [p.loss for p in log] == pytest.approx([p.loss for p in reference], rel=1e-5)
    assert log[-1].scores == pytest.approx(reference[-1].scores, rel=1e-5)


def test_a_resumed_run_is_the_uninterrupted_one(run, config, tmp_path):
    whole, half = run
    resumed = shutil.copytree(half, tmp_path / "resumed")
    with (resumed / "log.jsonl").open("a") as log:
        log.write('{"step": 7}\n')  # killed after step 7: its line is in the log, its weights are lost
    pretrain(config, resumed, resume=True)
    assert_same_run(resumed, whole)


@pytest.mark.parametrize("stop", [1, 8, 12])
def test_a_run_that_is_stopped_saves_its_state(stop, run, config, tmp_path):
    def report(progress):
        if progress.step == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path, report=report)
    assert {path.name for path in tmp_path.iterdir()} == FILES - {"model.h5"}
    pretrain(config, tmp_path, resume=True)
    assert_same_run(tmp_path, run[0])


def test_a_finished_run_can_be_resumed_without_change(run, config, tmp_path):
    again = shutil.copytree(run[0], tmp_path / "again")
    (again / "model.h5").unlink()  # killed between the last state and the model
    pretrain(config, again, resume=True)
    assert_same_run(again, run[0])


def test_what_stands_in_the_way_is_named(run, config, tmp_path):
    whole, half = run
    with pytest.raises(UsageError, match="a run is already there; resume it"):
        pretrain(config, whole)
    with pytest.raises(CheckpointError, match="the run there had other settings"):
        pretrain(replace(config, lr=1e-3), half, resume=True)
    with pytest.raises(CheckpointError, match="no such file"):
        pretrain(config, tmp_path / "none", resume=True)
    with pytest.raises(DataError, match="cannot read"):
        pretrain(replace(config, data=("absent.txt",)), tmp_path / "none")
    with pytest.raises(DataError, match="fewer than one window of 90000; give more text"):
        pretrain(replace(config, n_ctx=90_000), tmp_path / "none")
    with pytest.raises(UsageError, match="not a multiple of n_head"):
        pretrain(replace(config, n_embd=15), tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_an_abandoned_start_does_not_lend_its_vocabulary(config, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    tiny.language_model().tokenizer.save(out / "vocabulary.json")
    saved = pretrain(replace(config, steps=1), out)
    assert saved.tokenizer.vocab_size == 280


def test_documents_stand_between_end_of_text_tokens(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\n<|endoftext|>\n\n<|endoftext|>three")
    assert list(documents(tmp_path / "a.txt")) == ["one\ntwo", "three"]
    tokenizer = tiny.language_model().tokenizer
    ids = encode_documents(tokenizer, (str(tmp_path / "a.txt"),))
    assert ids.dtype == np.uint16
    eot = tokenizer.eot_id
    assert ids.tolist() == [eot, *tokenizer.encode("one\ntwo"), eot, *tokenizer.encode("three"), eot]


def test_a_uniform_model_needs_the_logarithm_of_its_vocabulary():
    saved = tiny.language_model(n_ctx=8)
    for parameter in saved.model.parameters():
        parameter.data[...] = 0
    tokens = np.arange(41, dtype=np.uint16)
    bits = math.log2(saved.tokenizer.vocab_size)
    assert bits_per_byte(saved.model, tokens, n_bytes=82) == pytest.approx(bits / 2, rel=1e-6)


def test_the_digest_tells_runs_apart(config):
    assert config.digest == replace(config).digest != replace(config, seed=1).digest
