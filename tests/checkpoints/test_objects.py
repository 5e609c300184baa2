"""`save` and `load`: what was saved comes back, and nothing else is accepted."""

import math

import numpy as np
import pytest

from tinygrad_gpt import nn
from tinygrad_gpt.checkpoints import native
from tinygrad_gpt.checkpoints.objects import load, save
from tinygrad_gpt.engine import Tensor
from tinygrad_gpt.errors import CheckpointError, TinygradError


def same(value, other):
    """Equal in values, types, dtypes and the order of keys."""
    if type(value) is not type(other):
        return False
    if isinstance(value, dict):
        return list(value) == list(other) and all(same(value[key], other[key]) for key in value)
    if isinstance(value, list | tuple):
        return len(value) == len(other) and all(map(same, value, other))
    if isinstance(value, Tensor):
        value, other = value.numpy(), other.numpy()
    if isinstance(value, np.ndarray):
        return (value.dtype, value.shape, value.tobytes()) == (other.dtype, other.shape, other.tobytes())
    return repr(value) == repr(other)


@pytest.mark.parametrize("value", [
    {"weight": Tensor([[1.0, 2.0]]), "bias": Tensor([3.0])},
    {"step": 3, "lr": 5e-5, "name": "späm", "done": True, "note": None, "betas": (0.9, 0.999), "rates": [0.1, 1]},
    {"state": {0: {"step": Tensor(1.0)}, 1: {}}, (1, 2): [], "": ()},
    [math.inf, -math.inf, math.nan, -0.0, 2**70],
    [Tensor([1, 2]), Tensor([True, False]), Tensor(np.float64([1.5])), np.arange(3, dtype=np.uint8), np.zeros((0, 2))],
    Tensor(7.0), 7, "text",
    {"a": ["float", "x"], "b": ["dict", []]},
    {"z": 1, "a": 2},
], ids=str)
def test_what_was_saved_comes_back(value, tmp_path):
    save(value, tmp_path / "file.pth")
    assert same(value, load(tmp_path / "file.pth"))


def test_a_parameter_comes_back_as_a_tensor_that_requires_no_gradient(tmp_path):
    save([nn.Parameter(np.ones(2, np.float32))], str(tmp_path / "file.pth"))
    (loaded,) = load(str(tmp_path / "file.pth"))
    assert type(loaded) is Tensor
    assert not loaded.requires_grad


def test_the_state_of_a_model(tmp_path):
    layer, other = nn.Linear(3, 2), nn.Linear(3, 2)
    save({"model": layer.state_dict(), "epoch": 3}, tmp_path / "both.pth")
    checkpoint = load(tmp_path / "both.pth")
    other.load_state_dict(checkpoint["model"])
    assert checkpoint["epoch"] == 3
    assert [p.tolist() for p in other.parameters()] == [p.tolist() for p in layer.parameters()]


def test_the_device_of_loaded_tensors(tmp_path):
    save(Tensor([1.0]), tmp_path / "file.pth")
    for device in (None, "cpu"):
        assert load(tmp_path / "file.pth", map_location=device, weights_only=False).tolist() == [1.0]
    with pytest.raises(TinygradError, match="tpu"):
        load(tmp_path / "file.pth", map_location="tpu")


@pytest.mark.parametrize("value", [object(), {1, 2}, {"model": nn.LayerNorm(2)}, [1 + 2j], {"f": print}])
def test_other_values_are_refused_and_the_file_stays(value, tmp_path):
    save(1, tmp_path / "file.pth")
    with pytest.raises(CheckpointError, match=r"cannot save \(.*file.pth\): a value is of type .*; give tensors"):
        save(value, tmp_path / "file.pth")
    assert load(tmp_path / "file.pth") == 1


def test_a_list_that_holds_itself_is_refused(tmp_path):
    value: list = []
    value.append(value)
    with pytest.raises(CheckpointError, match="more than 100 deep"):
        save(value, tmp_path / "file.pth")


def test_a_checkpoint_of_another_kind_is_refused(tmp_path):
    native.save(tmp_path / "model.h5", {"a": np.zeros(2)}, {"kind": "classifier"})
    with pytest.raises(CheckpointError, match="it was not written by save"):
        load(tmp_path / "model.h5")


def test_files_of_pytorch_are_refused(tmp_path):
    (tmp_path / "model.pth").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(CheckpointError, match=r"zip archive, as PyTorch .*write.*; save the weights as \.safetensors"):
        load(tmp_path / "model.pth")
