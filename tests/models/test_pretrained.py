"""GPT2.from_pretrained: the file is the memory, and stays what it is when the model learns."""

import re

import numpy as np
import published
import pytest

from tinygrad_gpt import ops
from tinygrad_gpt.errors import CheckpointError
from tinygrad_gpt.models.gpt2 import GPT2
from tinygrad_gpt.optim import AdamW

IDS = np.array([[1, 5, 2, 10, 0]])


@pytest.fixture
def folder(tmp_path):
    published.safetensors_file(tmp_path / "model.safetensors", published.weights())
    published.config_file(tmp_path, n_head=2)
    return tmp_path


def test_no_weight_is_copied(folder):
    model = GPT2.from_pretrained(folder)
    assert all(isinstance(parameter.data.base, np.memmap) for parameter in model.parameters())
    assert {parameter.dtype for parameter in model.parameters()} == {np.dtype(np.float32)}
    assert not model.training


def test_training_changes_the_model_and_not_the_file(folder):
    path = folder / "model.safetensors"
    before, model = path.read_bytes(), GPT2.from_pretrained(folder)
    optimizer, losses = AdamW(model.parameters(), lr=0.01), []
    for _ in range(20):
        optimizer.zero_grad()
        loss = ops.cross_entropy(model(IDS[:, :-1]), IDS[:, 1:])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert path.read_bytes() == before
    untouched = GPT2.from_pretrained(folder)
    assert ops.cross_entropy(untouched(IDS[:, :-1]), IDS[:, 1:]).item() == losses[0]


def test_saving_over_the_file_that_is_the_memory(folder):
    model = GPT2.from_pretrained(folder)
    model.wte.weight.data[...] += 1
    logits = model(IDS).numpy()
    model.save_pretrained(folder)
    np.testing.assert_array_equal(model(IDS).numpy(), logits)
    np.testing.assert_array_equal(GPT2.from_pretrained(folder)(IDS).numpy(), logits)


def test_a_model_is_read_on_every_backend(folder, backend):
    model = GPT2.from_pretrained(folder)
    assert {type(parameter.data) for parameter in model.parameters()} == {backend.array_type}
    assert np.isfinite(model(backend.from_numpy(IDS)).numpy()).all()


def test_the_folder_of_another_thing_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="it holds no model"):
        GPT2.from_pretrained(tmp_path)


@pytest.mark.parametrize("convert", [lambda a: a, lambda a: a.astype(np.float16), published.bfloat16],
                         ids=["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_values_that_are_not_finite_are_refused_with_their_file(folder, convert, bad):
    weights = published.weights()
    weights["h.1.attn.c_proj.weight"][0, 0] = bad
    path = published.safetensors_file(folder / "model.safetensors", {k: convert(a) for k, a in weights.items()})
    with pytest.raises(CheckpointError, match=f"cannot load .{re.escape(str(path))}.: .*1 of the tensors do not fit: "
                                              r"h\.1\.attn\.c_proj\.weight holds 1 values that are not finite"):
        GPT2.from_pretrained(folder)
