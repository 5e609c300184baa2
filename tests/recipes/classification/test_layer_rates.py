"""Learning rates by layer."""

from dataclasses import replace

import pytest
import tiny

from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.models.bert import Bert, BertConfig
from tinygrad_gpt.models.bert_classifier import BertClassifier
from tinygrad_gpt.recipes.classification.config import FinetuneConfig
from tinygrad_gpt.recipes.classification.finetune import finetune_classifier
from tinygrad_gpt.recipes.classification.layer_rates import LayerRates, layers_from_the_top
from tinygrad_gpt.recipes.classification.starting_model import set_trained
from tinygrad_gpt.runs.saved_model import load_model, save_model


def test_layers_go_from_the_head_down_to_the_embeddings():
    model = tiny.classifier().classifier
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = [{names[id(parameter)] for parameter in layer} for layer in layers_from_the_top(model)]
    starts = ["score.", "transformer.h.1.", "transformer.h.0.", "transformer.w"]
    assert found[0] == {"score.weight", "score.bias", "transformer.ln_f.weight", "transformer.ln_f.bias"}
    for layer, start in zip(found[1:], starts[1:], strict=True):
        assert layer == {name for name in names.values() if name.startswith(start)}
    assert sum(map(len, found)) == len(names)


def test_an_encoder_s_embeddings_are_its_lowest_layer():
    model = BertClassifier(Bert(BertConfig(vocab_size=20, n_ctx=8, n_embd=8, n_layer=2, n_head=2, n_inner=16)), 3)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    head, *blocks, lowest = [{names[id(parameter)] for parameter in layer} for layer in layers_from_the_top(model)]
    assert {"score.weight", "score.bias"} <= head
    assert [min(block).split(".")[2] for block in blocks] == ["1", "0"]
    assert {name.split(".")[1] for name in lowest} >= {"wte", "wpe", "ln_e"}
    assert not any(".h." in name for name in lowest | head)


def test_rates_fall_with_depth_and_layers_thaw_from_the_top():
    rates = LayerRates(tiny.classifier().classifier, 0.5, 0.6)
    assert rates.shares(0) == [1, 0, 0, 0]
    assert rates.shares(0.3) == [1, 0.5, 0, 0]
    assert rates.shares(0.6) == [1, 0.5, 0.25, 0.125]


def test_a_frozen_layer_keeps_the_others_at_their_depth():
    model = tiny.classifier().classifier
    set_trained(model, "last-block")
    rates = LayerRates(model, 0.5, 0.0)
    assert rates.shares(0) == [1, 0.5]
    assert sum(len(group["params"]) for group in rates.groups()) == len(model.trainable())


@pytest.fixture
def config(tmp_path):
    save_model(tmp_path / "base.h5", tiny.language_model(n_ctx=12))
    data = tiny.labelled_file(tmp_path / "three.csv", 30)
    return FinetuneConfig(str(data), base=str(tmp_path / "base.h5"), epochs=1, lr=1e-3, batch_size=8, weight_decay=0.0,
                          lm_weight=0.0, schedule="constant", dropout=0.0)


def moved(config, out):
    """By how much the largest change of each part of the base exceeds that of no training."""
    before = load_model(config.base).transformer.arrays()
    after = finetune_classifier(config, out).saved.transformer.arrays()
    return {part: max(float(abs(after[name] - before[name]).max()) for name in before if name.startswith(part))
            for part in ("wpe", "h.0.", "h.1.", "ln_f")}


def test_lower_layers_move_less_in_a_run(config, tmp_path):
    even = moved(config, tmp_path / "even")
    decayed = moved(replace(config, layer_decay=0.1), tmp_path / "decayed")
    for depth, part in enumerate(("ln_f", "h.1.", "h.0.", "wpe")):  # Adam's steps have about the size of the rate
        assert decayed[part] == pytest.approx(even[part] * 0.1**depth, rel=0.5)


def test_a_layer_that_has_not_thawed_stays_as_it_was(config, tmp_path):
    assert moved(replace(config, unfreeze=1.0), tmp_path / "run")["wpe"] == 0


def test_rates_that_rise_with_depth_are_refused(config):
    with pytest.raises(UsageError, match=r"layer_decay is 1\.5; give a factor above 0, at most 1"):
        replace(config, layer_decay=1.5)
