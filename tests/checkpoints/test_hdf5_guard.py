"""Reasons why a file is refused, each in one line that names it (files of other kinds: test_native.py)."""

import h5py
import numpy as np
import pytest

from tinygrad_gpt.checkpoints.hdf5_guard import data_set, explained, first_bytes, opened_hdf5, parse_json
from tinygrad_gpt.errors import CheckpointError


def test_first_bytes_are_at_most_64(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(100)))
    assert first_bytes(path) == bytes(range(64))
    path.write_bytes(b"ab")
    assert first_bytes(path) == b"ab"


@pytest.mark.parametrize(("error", "reason"), [
    (CheckpointError("it is a pickle; give a checkpoint"), "it is a pickle; give a checkpoint"),
    (FileNotFoundError(2, "No such file"), "no such file; check the path"),
    (PermissionError(13, "denied"), "permission denied; check who may read it"),
    (OSError("truncated\n   file"), "the file is damaged (truncated file); use another copy"),
    (KeyError("tensors"), "the file is damaged ('tensors'); use another copy"),
])
def test_every_failure_names_the_file(error, reason):
    with pytest.raises(CheckpointError) as caught, explained("a.h5"):
        raise error
    assert str(caught.value) == f"cannot load (a.h5): {reason}"


def test_full_memory_is_no_damage():
    with pytest.raises(MemoryError), explained("a.h5"):
        raise MemoryError


@pytest.mark.parametrize(("name", "why"), [
    ("group", "'group' is not a data set"), ("absent", "'absent' is a link to elsewhere"),
    ("soft", "'soft' is a link to elsewhere"), ("chunked", "'chunked' is stored in pieces, filtered, or outside"),
])
def test_only_data_in_one_piece_is_read(name, why, tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["plain"] = np.arange(3)
        file.create_group("group")
        file["soft"] = h5py.SoftLink("/plain")
        file.create_dataset("chunked", data=np.arange(3), chunks=(2,))
    with opened_hdf5(path) as (file, size):
        assert size == path.stat().st_size
        assert data_set(file, "plain")[()].tolist() == [0, 1, 2]
        with pytest.raises(CheckpointError, match=why):
            data_set(file, name)


@pytest.mark.parametrize(("text", "why"), [
    (b'{"a": 1, "a": 2}', "its JSON has 'a' twice"), (b'{"b": {"a": 1, "a": 1}}', "its JSON has 'a' twice"),
    (b"{", "its JSON cannot be read"), (b'"\xff"', "its JSON cannot be read"),
    (b"[" * 100_000, "its JSON cannot be read"),
])
def test_json_that_is_refused(text, why):
    with pytest.raises(CheckpointError, match=f"^{why}; use another copy$"):
        parse_json(text)


def test_json_that_is_read():
    assert parse_json('{"a": [1, {"a": "\u00e9"}]}'.encode()) == {"a": [1, {"a": "\u00e9"}]}
