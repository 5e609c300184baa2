"""Where training starts from: the weights of a file, which are neither copied nor changed there."""

import mmap
from dataclasses import replace

import numpy as np
import pytest
import tiny

from tinygrad_gpt.files import sha256_of
from tinygrad_gpt.recipes.classification.finetune import FinetuneConfig, train_on_texts
from tinygrad_gpt.recipes.classification.starting_model import has_seen_test, interpolated, load_base
from tinygrad_gpt.recipes.export import export
from tinygrad_gpt.recipes.instructions.instruct import InstructConfig, InstructTask
from tinygrad_gpt.recipes.instructions.tuning import start
from tinygrad_gpt.recipes.pretraining.pretrain import PretrainConfig, pretrain
from tinygrad_gpt.runs.saved_model import load_model, save_model


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder with a model.safetensors, which is mapped when it is loaded."""
    folder = tmp_path_factory.mktemp("published")
    export(tiny.language_model(n_ctx=96), folder)
    return folder


def mapped(model) -> set[str]:
    """Parameters whose memory is a file's."""
    def owner(array):
        return owner(array.base) if isinstance(array, np.ndarray) and array.base is not None else array

    return {name for name, parameter in model.named_parameters() if isinstance(owner(parameter.data), mmap.mmap)}


@pytest.mark.parametrize("train", ["last-block", "lora", "all"])
def test_a_classifier_is_trained_on_mapped_weights_which_stay_as_they_are(published, train):
    texts, labels = zip(*tiny.texts(12), strict=True)
    config = FinetuneConfig("", base=str(published), train=train, epochs=1, context="16", lr=0.1)
    base, _ = load_base(config, [])
    assert mapped(base) == {name for name, _ in base.named_parameters()}
    before = (published / "model.safetensors").read_bytes()
    model, _ = train_on_texts(texts, np.unique(labels, return_inverse=True)[1], config)
    assert not np.array_equal(model.transformer.h[-1].mlp.c_fc.weight.data, base.h[-1].mlp.c_fc.weight.data)
    assert (published / "model.safetensors").read_bytes() == before


def test_an_assistant_is_trained_on_mapped_weights_which_stay_as_they_are(published, tmp_path):
    seen = []

    def make(config, model, tokenizer):
        seen.append(mapped(model))
        return InstructTask(config, model, tokenizer)

    config = InstructConfig(data=str(tiny.instruction_file(tmp_path / "tasks.json")), base=str(published), style="phi3",
                            epochs=1, samples=0)
    before = (published / "model.safetensors").read_bytes()
    saved = start(make, config, tmp_path / "run")
    assert seen == [{name for name, _ in saved.model.named_parameters()}]
    assert saved.provenance["after"] != saved.provenance["before"]
    assert (published / "model.safetensors").read_bytes() == before


def test_pretraining_goes_on_from_mapped_weights_which_stay_as_they_are(published, tmp_path):
    config = PretrainConfig((str(tiny.text_file(tmp_path / "a.txt")),), base=str(published), steps=2, eval_every=2)
    before = (published / "model.safetensors").read_bytes()
    pretrain(config, tmp_path / "run")
    assert (published / "model.safetensors").read_bytes() == before
    base, trained = (load_model(folder).model.wte.weight.data for folder in (published, tmp_path / "run"))
    assert not np.array_equal(base, trained)


def test_the_dropout_is_that_of_the_run(published):
    config = FinetuneConfig("", base=str(published), dropout=0.3)
    for rate in (0.3, 0.0):
        base, _ = load_base(replace(config, dropout=rate), [])
        assert {base.config.dropout, base.drop.p, base.h[1].attn.attn_dropout.p} == {rate}


@pytest.mark.parametrize(("made_with", "change", "seen"), [
    ({}, {}, True), ({"split_seed": 123}, {}, False), ({"split_seed": 123}, {"split_seed": 4}, True),
    ({"split_seed": 123, "split": "by-text", "test": None}, {"split": "book"}, True),
    ({"split_seed": 123, "split": "book", "test": None}, {"split": "book"}, False),
    ({"split_seed": 123}, {"test": "three.csv", "data": "other.csv"}, True),
    ({"split_seed": 123, "test": "three.csv"}, {"test": "three.csv", "data": "other.csv"}, False),
    ({"split_seed": 123, "test": "other.csv"}, {}, True),
    ({"split_seed": 123, "data": "mail.csv", "extra": "renamed.csv"}, {}, True),
    ({"split_seed": 123, "data": "mail.csv", "unlabelled": "renamed.csv"}, {}, True),
    ({"split_seed": 4, "data": "mail.csv", "test": "renamed.csv"}, {}, False),
    ({"split_seed": 4, "data": ["renamed.csv"]}, {}, True),
    ({}, {"data": "other.csv"}, False), ({}, {"data": "other.csv", "test": "other.csv"}, False),
], ids=str)
def test_a_base_that_knows_the_test_texts_is_found_out(made_with, change, seen, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny.labelled_file(tmp_path / "three.csv")
    tiny.labelled_file(tmp_path / "other.csv", 30)
    save_model("base.h5", tiny.classifier(config=made_with, sha256={"renamed.csv": sha256_of("three.csv")}))
    config = replace(FinetuneConfig("three.csv", base="base.h5"), **change)
    assert has_seen_test(config.base, config) == seen
    assert not has_seen_test("random", config)


def test_a_published_base_says_nothing_of_its_texts(published, tmp_path):
    assert not has_seen_test(str(published), FinetuneConfig(str(tiny.labelled_file(tmp_path / "a.csv"))))


def test_positions_are_stretched_in_a_line():
    positions = np.array([[0.0, 5.0], [1.0, 3.0], [2.0, 1.0]], np.float32)
    np.testing.assert_allclose(interpolated(positions, 5), [[0, 5], [0.5, 4], [1, 3], [1.5, 2], [2, 1]])
    assert interpolated(positions, 3) is positions
    np.testing.assert_array_equal(interpolated(positions[:1], 3), positions[[0, 0, 0]])


def test_a_longer_context_keeps_all_other_weights(tmp_path):
    save_model(tmp_path / "base.h5", tiny.language_model(n_ctx=6))
    before = load_model(tmp_path / "base.h5").transformer.arrays()
    base, _ = load_base(FinetuneConfig("", base=str(tmp_path / "base.h5"), context="11"), [])
    assert base.config.n_ctx == 11
    for name, array in base.arrays().items():
        expected = interpolated(before[name], 11) if name == "wpe.weight" else before[name]
        np.testing.assert_array_equal(array, expected)
