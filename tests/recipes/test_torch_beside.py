"""The same step in PyTorch."""

import numpy as np
import pytest
import tiny

from tinygrad_gpt.models.classifier import Reading
from tinygrad_gpt.recipes import torch_beside
from tinygrad_gpt.recipes.text_step import text_step
from tinygrad_gpt.recipes.torch_beside import torch_gradients, torch_records
from tinygrad_gpt.runs.saved_model import load_model
from tinygrad_gpt.study.compare import compare, layers, limit_for, records


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("model", ["storyteller", "sms-spam"])
def test_values_and_gradients_are_torchs(model, dtype):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    step = text_step(load_model(model), "Once upon a time you won a prize")
    trace = step.trace(dtype)
    gradients = torch_gradients(step)
    assert gradients.keys() == dict(step.parameters).keys()
    for name, gradient in gradients.items():
        size = np.abs(gradient).max()
        assert np.abs(trace.leaf(name).grad - gradient).max() <= {"float64": 1e-11, "float32": 1e-4}[dtype] * size, name
    runs = layers(records(trace), torch_records(step))
    comparison = compare(*runs, limit_for(*runs))
    assert (comparison.value, comparison.gradient) == (None, None)
    assert len(comparison.rows) > len(step.parameters) + 15


def test_another_way_of_reading_has_no_torch(monkeypatch):
    saved = tiny.classifier()
    step = text_step(saved, "ice ski")
    monkeypatch.setattr(saved.model, "reading", Reading(read="mean"))
    assert torch_gradients(step) is None


def test_an_encoder_has_no_torch():
    assert torch_gradients(text_step(tiny.encoder_classifier(), "ice ski")) is None


def test_without_torch_there_is_none(monkeypatch):
    monkeypatch.setattr(torch_beside, "find_spec", lambda name: None)
    assert torch_gradients(text_step(tiny.language_model(), "ice")) is None
