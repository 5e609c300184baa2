"""tf_model.h5: what is no GPT-2's, or leads out of the file, is refused."""

import h5py
import numpy as np
import published
import pytest

from tinygrad_gpt.checkpoints import keras_files
from tinygrad_gpt.checkpoints.keras_files import read_keras
from tinygrad_gpt.errors import CheckpointError

PLACE = published.keras_place("h.1.mlp.c_fc.weight")


@pytest.fixture
def path(tmp_path):
    return published.keras_file(tmp_path / "tf_model.h5", published.weights())


def test_names_and_shapes_are_those_of_safetensors(path):
    assert {name: tensor.shape for name, tensor in read_keras(path).items()} == {
        name: array.shape for name, array in published.weights().items()}


def test_a_place_of_another_form_keeps_its_name(path):
    with h5py.File(path, "a") as file:
        file["transformer/tfgp_t2lm_head_model/transformer/wte/colour:0"] = np.zeros(2, np.float32)
        file["extra"] = np.zeros(2, np.int64)
    found = read_keras(path)
    assert found["extra"].dtype == "int64"
    assert "transformer/tfgp_t2lm_head_model/transformer/wte/colour:0" in found


def virtual(file):
    layout = h5py.VirtualLayout(shape=(6, 24), dtype="f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", shape=(6, 24))
    file.create_virtual_dataset(PLACE, layout)


@pytest.mark.parametrize(("make", "why"), [
    (virtual, "stored in pieces"),
    (lambda f: f.create_dataset(PLACE, (6, 24), "f4", external=[("/etc/hostname", 0, 576)]), "outside the file"),
    (lambda f: f.create_dataset(PLACE, (6, 24), "f4", chunks=True), "stored in pieces"),
    (lambda f: f.create_dataset(PLACE, (6, 24), "f4", compression="gzip"), "filtered"),
    (lambda f: f.create_dataset(PLACE, (2**50,), "f4"), "does not lie in the file"),
    (lambda f: f.create_dataset(PLACE, (6, 24), "f4"), "does not lie in the file"),  # never written
    (lambda f: f.create_dataset(PLACE, data=h5py.Empty("f4")), "does not lie in the file"),
    (lambda f: f.copy("transformer/tfgp_t2lm_head_model", "transformer/other"), "is in it twice"),
    (lambda f: f.__setitem__("a\nb", np.zeros(3)), "is no name"),
])
def test_hostile_data_sets(path, make, why):
    with h5py.File(path, "a") as file:
        del file[PLACE]
        make(file)
    with pytest.raises(CheckpointError) as caught:
        read_keras(path)
    assert why in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("link", [h5py.SoftLink("/extra"), h5py.ExternalLink("other.h5", "x")])
def test_links_are_not_followed(path, link):
    with h5py.File(path, "a") as file:
        del file[PLACE]
        file[PLACE] = link
    assert "h.1.mlp.c_fc.weight" not in read_keras(path)


def test_a_group_that_holds_itself_is_walked_once(path):
    with h5py.File(path, "a") as file:
        for i in range(50):
            file["transformer"][f"again{i}"] = file["transformer"]
    assert read_keras(path).keys() == published.weights().keys()


def test_more_members_than_any_gpt2(path, monkeypatch):
    monkeypatch.setattr(keras_files, "MAX_MEMBERS", 20)
    with pytest.raises(CheckpointError, match="more than 20 groups and data sets"):
        read_keras(path)


def test_another_programs_file(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.zeros(3, np.float32)
    with pytest.raises(CheckpointError, match="HDF5 file of another program"):
        read_keras(tmp_path / "a.h5")


@pytest.mark.parametrize("depth", [17, 2000])
def test_deep_groups_are_refused_at_once(depth, tmp_path):
    path = tmp_path / "tf_model.h5"
    with h5py.File(path, "w") as file:
        group = file
        for _ in range(depth):
            group = group.create_group("g")
        group["wte"] = np.zeros(3)
    with pytest.raises(CheckpointError, match="its groups are nested more than 16 deep"):
        read_keras(path)
