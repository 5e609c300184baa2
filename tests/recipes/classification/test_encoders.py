"""Finetuning an encoder: settings that suit it, the same model after a stop, and its answers from the saved file."""

from dataclasses import replace

import numpy as np
import pytest
import tiny

from tinygrad_gpt.cli import main
from tinygrad_gpt.data.classification import read_labelled
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.estimator import GPTClassifier
from tinygrad_gpt.models.bert import Bert
from tinygrad_gpt.recipes.classification.attribution import attribute
from tinygrad_gpt.recipes.classification.classify import classify
from tinygrad_gpt.recipes.classification.config import BY_BASE
from tinygrad_gpt.recipes.classification.evaluate import evaluate
from tinygrad_gpt.recipes.classification.finetune import FinetuneConfig, finetune_classifier, resume_classifier
from tinygrad_gpt.recipes.classification.starting_model import load_base
from tinygrad_gpt.runs.saved_model import SavedModel, is_encoder, load_model, save_model

transformers = pytest.importorskip("transformers", reason="transformers, which writes the encoder, is not installed")

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A published encoder of a vocabulary of letters."""
    folder = tmp_path_factory.mktemp("encoder")
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'"
    vocabulary = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    import torch

    torch.manual_seed(0)
    transformers.BertModel(transformers.BertConfig(
        vocab_size=len(vocabulary), hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=40,
        max_position_embeddings=48)).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.labelled_file(tmp_path_factory.mktemp("data") / "two.csv")


def config_of(data, encoder, **change):
    return FinetuneConfig(str(data), base=str(encoder), **{"epochs": 2, "lr": 1e-3, "batch_size": 8, "save_every": 2,
                                                           **change})


def test_settings_suit_the_base(encoder):
    kinds = {str(encoder): "encoder", "storyteller": "gpt2", "no such model": "gpt2", "random": "gpt2"}
    for base, kind in kinds.items():
        config = FinetuneConfig("", base=base)
        assert {name: getattr(config, name) for name in BY_BASE[kind]} == BY_BASE[kind]
    assert FinetuneConfig("", base=str(encoder), lr=0.5, read="first").lr == 0.5
    assert is_encoder(encoder)
    assert is_encoder(encoder / "model.safetensors")


@pytest.mark.parametrize("change", [{}, {"read": "first", "train": "last-block", "dropout": 0.0},
                                    {"train": "lora", "rank": 2}], ids=str)
def test_a_run_that_was_stopped_gives_the_same_model(change, data, encoder, tmp_path):
    config = config_of(data, encoder, epochs=1, **change)
    whole = finetune_classifier(config, tmp_path / "whole")

    def stop(progress):
        if progress.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune_classifier(config, tmp_path / "stopped", stop)
    resumed = resume_classifier(tmp_path / "stopped")
    assert resumed.test == whole.test
    for name, array in whole.saved.model.arrays().items():
        assert np.array_equal(resumed.saved.model.arrays()[name], array), name
    read = load_model(tmp_path / "stopped")
    assert is_encoder(tmp_path / "stopped")
    judged = evaluate(read, read_labelled(data), "test")
    assert judged.report == whole.test


def test_text_is_read_between_its_special_tokens(data, encoder, tmp_path):
    saved = finetune_classifier(config_of(data, encoder, epochs=1, context="6"), tmp_path / "run").saved
    short, cut, same = classify(saved, ["abcd", "abcdefgh", "abcdxyz"])
    assert [(answer.tokens, answer.truncated) for answer in (short, cut, same)] == [(4, False), (8, True), (7, True)]
    assert short.probabilities == pytest.approx(cut.probabilities, abs=1e-6)
    ids = np.array([[2, *saved.tokenizer.encode("abcd"), 3]])
    logits = saved.classifier(ids, np.array([6])).numpy()[0].astype(np.float64)
    assert list(short.probabilities.values()) == pytest.approx(np.exp(logits) / np.exp(logits).sum(), abs=1e-6)
    found = attribute(saved, "ab cd", short.label)
    assert found.gap < 1e-3
    assert len(found.parts) == 4
    assert [word.text for word in found.words] == ["ab", " cd"]  # pieces of a word are one word


@pytest.mark.parametrize(("family", "function"), [("bert", "tanh"), ("distilbert", "relu")])
def test_the_first_token_goes_through_a_pooler_which_is_new_where_there_was_none(family, function, encoder, tmp_path):
    read = load_model(encoder)
    config = replace(read.base.config, family=family, pooler="none", n_types=0 if family == "distilbert" else 2)
    plain = SavedModel(Bert(config), read.tokenizer, (), {})
    save_model(tmp_path / "plain.h5", plain)
    for base, change, expected in ((encoder, {}, "tanh"), (encoder, {"read": "mean"}, "none"),
                                   (tmp_path / "plain.h5", {}, function),
                                   (tmp_path / "plain.h5", {"train": "head"}, "none")):
        settings = FinetuneConfig("", base=str(base), **{"read": "first", **change})
        found, _ = load_base(settings, [])
        assert found.config.pooler == expected
        assert expected == "none" or found.pooler.weight.numpy().std() == pytest.approx(0.02, rel=0.2)
    assert np.array_equal(found.wte.weight.numpy(), plain.base.wte.weight.numpy())


def test_other_losses_and_models_are_refused(data, encoder, tmp_path, capsys):
    with pytest.raises(UsageError, match=r"^lm_weight is 1.0, but an encoder predicts no next token; set it to 0, or"):
        finetune_classifier(config_of(data, encoder, lm_weight=1.0), tmp_path / "run")
    assert main(["classify", "--model", str(encoder), "Once"]) == 2
    assert "the model is an encoder, not a classifier; finetune it first" in capsys.readouterr().err
    assert main(["generate", "--model", str(encoder), "Once"]) == 2
    assert "the model is an encoder, which predicts no next token; give a GPT-2" in capsys.readouterr().err


def test_commands_take_an_encoder(data, encoder, tmp_path, capsys):
    run = str(tmp_path / "run")
    assert main(["finetune", "classifier", "--data", str(data), "--base", str(encoder), "--epochs", "1",
                 "--out", run]) == 0
    assert load_model(run).classifier.reading.read == "mean"
    assert main(["classify", "--model", run, "abc"]) == 0
    assert main(["evaluate", "classifier", "--model", run, "--data", str(data), "--part", "test"]) == 0
    assert main(["info", run]) == 0
    assert "BertClassifier: vocab_size 87" in capsys.readouterr().out
    assert main(["info", str(encoder)]) == 0


def test_estimator_takes_an_encoder(encoder, tmp_path):
    texts, labels = ["good day", "bad night"] * 4, ["a", "b"] * 4
    model = GPTClassifier(base=str(encoder), epochs=1).fit(texts, labels)
    assert model.saved_.provenance["config"]["lr"] == 1e-4
    save_model(tmp_path / "model.h5", model.saved_)
    read = GPTClassifier.load(tmp_path / "model.h5")
    assert read.predict_proba(texts).tobytes() == model.predict_proba(texts).tobytes()
