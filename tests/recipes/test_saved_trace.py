"""A recorded step in a file."""

import numpy as np
import pytest
import tiny

from tinygrad_gpt.checkpoints import native
from tinygrad_gpt.errors import CheckpointError
from tinygrad_gpt.recipes.saved_trace import load_trace, save_trace
from tinygrad_gpt.recipes.text_step import tiny_step
from tinygrad_gpt.runs.saved_model import save_model
from tinygrad_gpt.study.compare import records


@pytest.fixture
def file(tmp_path):
    save_trace(tmp_path / "step.h5", records(tiny_step().trace()))
    return tmp_path / "step.h5"


def rewritten(file, **metadata):
    saved = native.load(file)
    native.save(file, saved.tensors, {**saved.metadata, **metadata})
    return file


def test_everything_comes_back(file):
    for saved, made in zip(load_trace(file), records(tiny_step().trace()), strict=True):
        assert (saved.label, saved.module, saved.inputs) == (made.label, made.module, made.inputs)
        np.testing.assert_array_equal(saved.value, made.value)
        assert (saved.grad is None) == (made.grad is None)
        assert saved.grad is None or (saved.grad.dtype == np.float32 and (saved.grad == made.grad).all())
        assert saved.parts.keys() == made.parts.keys()
        for name, part in saved.parts.items():
            np.testing.assert_array_equal(part, made.parts[name])


def test_another_version_is_refused(file):
    with pytest.raises(CheckpointError, match=r"it was saved by version '0.0.1', and this is .*; save it again with"):
        load_trace(rewritten(file, made_by="0.0.1"))


def test_a_model_is_refused(tmp_path):
    save_model(tmp_path / "model.h5", tiny.language_model())
    with pytest.raises(CheckpointError, match="it holds a model, not a saved tape"):
        load_trace(tmp_path / "model.h5")


def test_a_damaged_file_is_refused(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"cannot load \(.*step.h5\): .*use another copy"):
        load_trace(file)


@pytest.mark.parametrize("steps", [
    3, [{}], [{"label": "x", "module": "", "inputs": [0], "parts": []}],
    [{"label": "x", "module": "", "inputs": ["1"], "parts": []}], [{"label": "x", "module": "", "inputs": []}],
    [{"label": "x", "module": "", "inputs": [], "parts": ["nothing"]}],
])
def test_steps_that_do_not_fit_are_refused(file, steps):
    with pytest.raises(CheckpointError, match="its steps do not fit its arrays"):
        load_trace(rewritten(file, steps=steps))
