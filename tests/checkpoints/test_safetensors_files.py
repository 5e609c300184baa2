"""Every rule of the format, each broken once."""

import json
import struct

import numpy as np
import published
import pytest
from safetensors.numpy import save

from tinygrad_gpt.checkpoints import safetensors_files
from tinygrad_gpt.checkpoints.safetensors_files import read_header, read_index
from tinygrad_gpt.errors import CheckpointError

TENSORS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros((0, 4), np.float32),
           "c": np.ones((), np.float16), "d": np.arange(3, dtype=np.uint8)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def entry(dtype="F32", shape=(2,), begin=0, end=8):
    return {"dtype": dtype, "shape": list(shape) if isinstance(shape, tuple) else shape, "data_offsets": [begin, end]}


def refused(path, header, data, why):
    path.write_bytes(published.packed(header, data, None))
    with pytest.raises(CheckpointError) as caught:
        read_header(path)
    assert why in str(caught.value)
    assert "; " in str(caught.value)
    assert str(caught.value).isprintable()


def test_what_the_library_writes(path):
    path.write_bytes(save(TENSORS, metadata={"format": "pt"}))
    found = read_header(path)
    assert {name: tensor.shape for name, tensor in found.items()} == {n: a.shape for n, a in TENSORS.items()}
    assert {name: tensor.dtype for name, tensor in found.items()} == {"a": "F32", "b": "F32", "c": "F16", "d": "U8"}
    np.testing.assert_array_equal(found["a"].load(), TENSORS["a"])
    np.testing.assert_array_equal(found["c"].load(), TENSORS["c"])


def test_no_tensors(path):
    path.write_bytes(published.packed({}, b""))
    assert read_header(path) == {}


@pytest.mark.parametrize(("value", "why"), [
    (None, "its entry is not dtype, shape and data_offsets"), ([], "its entry is not"), ({}, "its entry is not"),
    ({"dtype": "F32", "shape": [2]}, "its entry is not"), (entry() | {"more": 1}, "its entry is not"),
    (entry(dtype="F31"), "unknown dtype 'F31'"), (entry(dtype=None), "unknown dtype 'None'"),
    (entry(dtype=["F32"]), "unknown dtype"), (entry(dtype="f32"), "unknown dtype"),
    (entry(shape="2"), "not lists of whole numbers"), (entry(shape=(-2,)), "not lists of whole numbers"),
    (entry(shape=(2.0,)), "not lists of whole numbers"), (entry(shape=(True, 2)), "not lists of whole numbers"),
    (entry(shape=(2**63, 2)), "not lists of whole numbers"), (entry(shape=(1,) * 33), "not lists of whole numbers"),
    (entry(shape=None), "not lists of whole numbers"), (entry(begin=-8, end=0), "not lists of whole numbers"),
    (entry(begin="0"), "not lists of whole numbers"), (entry() | {"data_offsets": [0]}, "not lists of whole numbers"),
    (entry() | {"data_offsets": [0, 8, 8]}, "not lists of whole numbers"),
    (entry(shape=(3,)), "dtype F32 and shape (3,) need 12 bytes, but data_offsets give 8"),
    (entry(dtype="F16"), "need 4 bytes, but data_offsets give 8"),
    (entry(shape=(2**50, 2**50)), "but data_offsets give 8"), (entry(begin=8, end=0), "data_offsets give -8"),
])
def test_entries(path, value, why):
    refused(path, {"x": value}, bytes(8), why)


@pytest.mark.parametrize(("header", "data", "why"), [
    ({"a": entry(), "b": entry(begin=12, end=20)}, bytes(20), "'b' begins at byte 12 of the data, but the one before"),
    ({"a": entry(), "b": entry(begin=4, end=12)}, bytes(12), "'b' begins at byte 4 of the data"),
    ({"a": entry(), "b": entry()}, bytes(8), "begins at byte 0"),
    ({"a": entry(begin=8, end=16)}, bytes(16), "'a' begins at byte 8"),
    ({"a": entry()}, bytes(9), "end at byte 8 of 9"), ({"a": entry()}, bytes(7), "end at byte 8 of 7"),
    ({}, b"x", "end at byte 0 of 1"),
    ({"a\nb": entry()}, bytes(8), "printable characters"), ({"a" * 257: entry()}, bytes(8), "256 printable characters"),
    ({"__metadata__": {"x": 1}}, b"", "__metadata__ is not a map of texts"),
    ({"__metadata__": []}, b"", "__metadata__ is not a map of texts"),
    (b'{"a": ' + json.dumps(entry()).encode() + b', "a": ' + json.dumps(entry()).encode() + b"}", bytes(8),
     "JSON has 'a' twice"),
    (b'{"a": {"dtype": "F32", "dtype": "F16"}}', b"", "JSON has 'dtype' twice"),
    (b"[]", b"", "not a JSON object"), (b' {"a": 1}', b"", "not a JSON object"), (b"", b"", "not a JSON object"),
    (b'{"a"', b"", "JSON cannot be read"), (b'{"\xff": 1}', b"", "JSON cannot be read"),
    (b"{} {}", b"", "JSON cannot be read"),
    (b'{"a": ' + b"[" * 100_000, b"", "JSON cannot be read"), (b'{"a": ' + b"9" * 5000 + b"}", b"", "cannot be read"),
])
def test_files(path, header, data, why):
    refused(path, header, data, why)


@pytest.mark.parametrize("length", [2**63, 2**40, 2**20 + 1, 100])
def test_headers_longer_than_the_file_or_the_limit(path, length):
    path.write_bytes(struct.pack("<Q", length) + b"{}" + bytes(20))
    with pytest.raises(CheckpointError, match=f"its header claims {length} bytes in a file of 30"):
        read_header(path)


def test_every_truncation_is_refused(path):
    whole = published.packed(*published.header_of(TENSORS))
    for length in range(8, len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            read_header(path)


# -- several files


@pytest.fixture
def index(tmp_path):
    for i, name in enumerate("ab"):
        published.safetensors_file(tmp_path / f"{i}.safetensors", {name: TENSORS["a"]})
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"a": "0.safetensors", "b": "1.safetensors"}}))
    return path


def test_an_index(index):
    found = read_index(index)
    assert {name: tensor.path.name for name, tensor in found.items()} == {"a": "0.safetensors", "b": "1.safetensors"}


@pytest.mark.parametrize(("content", "why"), [
    ([], "no weight_map"), ({}, "no weight_map"), ({"weight_map": []}, "no weight_map"),
    ({"weight_map": {"a": 1}}, "no weight_map"),
    ({"weight_map": {"a": "../0.safetensors"}}, "not a file beside it"),
    ({"weight_map": {"a": "/etc/passwd"}}, "not a file beside it"), ({"weight_map": {"a": ""}}, "not a regular file"),
    ({"weight_map": {"a": ".."}}, "not a regular file"), ({"weight_map": {"a": "a\nb"}}, "not a file beside it"),
    ({"weight_map": {"a": "2.safetensors"}}, "2.safetensors is missing"),
    ({"weight_map": {"b": "0.safetensors"}}, "0.safetensors and the index disagree about 2 tensors, the first is 'a'"),
    ({"weight_map": {"a": "0.safetensors", "b": "0.safetensors"}}, "disagree about 1 tensors, the first is 'b'"),
])
def test_indexes_that_are_wrong(index, content, why):
    index.write_text(json.dumps(content))
    with pytest.raises(CheckpointError) as caught:
        read_index(index)
    assert why in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_damaged_part_is_named(index):
    (index.parent / "1.safetensors").write_bytes(published.packed({}, b"x"))
    with pytest.raises(CheckpointError, match=r"^1\.safetensors: its tensors end at byte 0 of 1"):
        read_index(index)


def test_a_description_that_is_too_large(index):
    index.write_bytes(b" " * (safetensors_files.MAX_JSON + 1))
    with pytest.raises(CheckpointError, match="it is larger than"):
        read_index(index)
