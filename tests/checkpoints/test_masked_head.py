"""The masked-language head in published files: found, left out, or refused with what is wrong."""

import json

import numpy as np
import published
import pytest
from safetensors.numpy import load_file, save_file

from tinygrad_gpt.checkpoints.masked_head import has_masked_head, read_masked_head
from tinygrad_gpt.errors import CheckpointError
from tinygrad_gpt.models.masked_lm import MaskedLM
from tinygrad_gpt.text import WordPiece

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c"]


@pytest.fixture
def folder(tmp_path):
    published.masked_lm(tmp_path, WordPiece(TOKENS))
    return tmp_path


def changed(folder, **tensors):
    """Replace tensors by name, with __ for a dot; None leaves one out."""
    file = folder / "model.safetensors"
    changes = {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    save_file({name: tensor for name, tensor in {**load_file(file), **changes}.items() if tensor is not None}, file)


def test_there_and_back(folder, tmp_path):
    model = published.masked_lm(tmp_path, WordPiece(TOKENS))
    read = MaskedLM.from_pretrained(folder)
    assert has_masked_head(folder)
    assert {name: array.tobytes() for name, array in read.arrays().items()} == {
        name: array.tobytes() for name, array in model.arrays().items()}


def test_none(tmp_path):
    published.masked_lm(tmp_path, WordPiece(TOKENS), has_head=False)
    assert not has_masked_head(tmp_path)
    with pytest.raises(CheckpointError, match="it has no masked-language head, only the encoder; give a model with"):
        read_masked_head(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    assert not has_masked_head(tmp_path)


def test_the_bias_may_be_that_of_the_decoder(folder):
    bias = np.arange(8, dtype=np.float32)
    changed(folder, cls__predictions__bias=None, cls__predictions__decoder__bias=bias)
    assert np.array_equal(read_masked_head(folder)["bias"], bias)


@pytest.mark.parametrize(("tensor", "found"), [
    (None, "missing"), (np.ones(7, np.float32), r"F32 \(7,\)"), (np.ones(8, np.int32), r"I32 \(8,\)")])
def test_what_does_not_fit_is_refused(folder, tensor, found):
    changed(folder, cls__predictions__bias=tensor)
    with pytest.raises(CheckpointError, match=rf"^cls.predictions.bias is {found}, expected F32, F16 or BF16 \(8,\); "):
        read_masked_head(folder)
