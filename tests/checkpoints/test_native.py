"""What was reported saved is loadable and exact; whatever else is refused in one line."""

import errno
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from random import Random
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import tiny
from faults import flip_what_is_written
from soak import times

from tinygrad_gpt import files
from tinygrad_gpt.checkpoints import native
from tinygrad_gpt.checkpoints.native import load, save
from tinygrad_gpt.errors import CheckpointError, ResourceError
from tinygrad_gpt.runs.saved_model import load_model, save_model

FLIPS = times(2000, 120_000)
MUTANTS = times(150, 20_000)
METADATA = {"kind": "classifier", "config": {"n_layer": 2, "dropout": 0.1}, "labels": ["ham", "späm"], "note": None}


def some_tensors():
    random = np.random.default_rng(0)
    return {f"h.{i}.mlp.c_fc.weight": random.normal(size=(10, 24)).astype(np.float32) for i in range(9)} | {
        "tokenizer.merges": np.arange(40, dtype=np.int32).reshape(20, 2)
    }


def assert_same(checkpoint, tensors, metadata=METADATA):
    assert checkpoint.metadata == metadata
    assert list(checkpoint.tensors) == sorted(tensors)
    for name, array in tensors.items():
        loaded = checkpoint.tensors[name]
        assert (loaded.dtype, loaded.shape) == (array.dtype.newbyteorder("="), array.shape)
        assert loaded.tobytes() == array.astype(loaded.dtype).tobytes()


def refusal(path):
    """The message `load` refuses with: one line that names the file and says what to do."""
    with pytest.raises(CheckpointError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"cannot load ({path}): ")
    assert "; " in message
    assert "\n" not in message
    return message


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.h5"


def edit(path, change):
    """Let `change(file, manifest)` alter a checkpoint and sign the manifest again, as a hostile author would."""
    with h5py.File(path, "a") as file:
        manifest = json.loads(file["manifest"][()].tobytes().partition(b"\n")[2])
        text = change(file, manifest) or json.dumps(manifest).encode()
        signed = hashlib.blake2b(text, digest_size=32).hexdigest().encode() + b"\n" + text
        del file["manifest"]
        file.create_dataset("manifest", data=np.frombuffer(signed, np.uint8))


# -- round trips


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?", ">f4", ">i8"])
def test_every_dtype_comes_back(path, dtype):
    array = np.array([[0, 1, 2], [3, 4, 100]]).astype(dtype)
    tensors = {"matrix": array, "scalar": array[1, 2].reshape(()), "empty": array[:0], "transposed": array.T}
    save(path, tensors, METADATA)
    assert_same(load(path), tensors)


def test_arrays_of_any_layout(path):
    base = np.arange(24.0).reshape(4, 6)
    tensors = {
        "transposed": base.T, "reversed": base[::-1, ::-1], "strided": base[::2, 1::3],
        "fortran": np.asfortranarray(base), "broadcast": np.broadcast_to(base[0], (3, 6)),
    }
    save(path, tensors, {})
    assert_same(load(path), tensors, {})


def test_special_values_keep_their_bits(path):
    tensors = {"x": np.array([np.nan, -np.nan, np.inf, -0.0, 5e-324])}
    save(path, tensors, {})
    assert_same(load(path), tensors, {})


def test_no_tensors_at_all(path):
    save(path, {}, METADATA)
    assert_same(load(path), {})


def test_bfloat16_is_stored_as_its_bits_and_loaded_as_float32(path):
    bits = np.array([[0x3F80, 0xC049], [0x7F80, 0x0001]], dtype=np.uint16)

    class Bfloat16:  # what ml_dtypes would make, without the dependency
        dtype = SimpleNamespace(name="bfloat16")

        def __array__(self, dtype=None, copy=None):
            return bits

    save(path, {"x": Bfloat16()}, {})
    with h5py.File(path) as file:
        assert file["tensors/x"].dtype == np.uint16
    expected = np.array([[1.0, -3.140625], [np.inf, 9.183549615799121e-41]], dtype=np.float32)
    np.testing.assert_array_equal(load(path).tensors["x"], expected)


def test_same_input_same_bytes(path, tmp_path):
    tensors = some_tensors()
    save(path, tensors, METADATA)
    save(tmp_path / "again.h5", dict(reversed(tensors.items())), dict(reversed(METADATA.items())))
    assert path.read_bytes() == (tmp_path / "again.h5").read_bytes()


def test_no_time_is_recorded_in_the_file(path, monkeypatch):
    """Two saves in different seconds could differ only by a time stamp; HDF5 would say there is none."""
    save(path, some_tensors(), METADATA)
    with h5py.File(path) as file:
        for name in ("/", "manifest", "tensors", "tensors/tokenizer.merges"):
            assert h5py.h5o.get_info(file[name].id).mtime == 0


def test_hdf5_is_imported_only_when_a_file_is_opened():
    code = "import sys, tinygrad_gpt.checkpoints.native; assert 'h5py' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=Path(files.__file__).parents[1], check=True, timeout=60)


# -- what cannot be saved


@pytest.mark.parametrize("dtype", ["c8", "O", "U3", "M8[s]", "V4"])
def test_dtypes_without_a_place_are_refused(path, dtype):
    with pytest.raises(CheckpointError, match=r"cannot save 'x' \(.*model.h5\): dtype .* has no place"):
        save(path, {"x": np.zeros(2, dtype)}, {})
    assert not path.exists()


@pytest.mark.parametrize("name", ["", ".", "a/b", "a\0b", "a\nb", "\ud800"])
def test_names_that_hdf5_would_take_apart_are_refused(path, name):
    with pytest.raises(CheckpointError, match="not a tensor name"):
        save(path, {name: np.zeros(2)}, {})
    assert not path.exists()


@pytest.mark.parametrize("metadata", [{"x": np.float32(1)}, {"x": float("nan")}, {("a",): 1}, {"x": {1, 2}}])
def test_metadata_that_is_not_json_is_refused(path, metadata):
    with pytest.raises(CheckpointError, match="cannot save metadata"):
        save(path, {}, metadata)
    assert not path.exists()


# -- a save that fails


def test_a_full_disk_keeps_the_old_checkpoint(path, monkeypatch):
    save(path, some_tensors(), METADATA)

    def full(file, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.system, "write", full)
    with pytest.raises(ResourceError, match="no space left"):
        save(path, {}, {})
    assert_same(load(path), some_tensors())


def test_a_disk_that_changes_a_bit_is_noticed_before_the_old_checkpoint_is_replaced(path, monkeypatch):
    save(path, some_tensors(), METADATA)
    flip_what_is_written(monkeypatch)
    with pytest.raises(CheckpointError, match="damaged"):
        save(path, some_tensors(), {"new": True})
    assert_same(load(path), some_tensors())
    assert os.listdir(path.parent) == ["model.h5"]


# -- damage


def test_every_truncation_is_refused(path):
    save(path, some_tensors(), METADATA)
    size = path.stat().st_size
    assert 10_000 < size < 20_000
    for length in reversed(range(size)):
        os.truncate(path, length)
        refusal(path)


def test_no_single_flipped_bit_is_accepted_silently(path):
    tensors = some_tensors()
    save(path, tensors, METADATA)
    image = bytearray(path.read_bytes())
    refused = 0
    for bit in np.random.default_rng(1).integers(8 * len(image), size=FLIPS).tolist():
        image[bit // 8] ^= 1 << bit % 8
        path.write_bytes(image)
        image[bit // 8] ^= 1 << bit % 8
        try:
            checkpoint = load(path)
        except CheckpointError:
            refused += 1
        else:  # a byte that nothing reads
            assert_same(checkpoint, tensors)
    assert refused > 0.9 * FLIPS


# -- files of other kinds


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (b"", "the file is empty"),
        (b"PK\x03\x04rest", r"PyTorch and NumPy .*save the weights as \.safetensors"),
        (b"\x80\x02}q\x00.", r"pickle.*save the weights as \.safetensors"),
        (b"\x93NUMPY\x01\x00", "NumPy array"),
        (b"\x40\0\0\0\0\0\0\0{\"a\": 1}", "safetensors file; import it"),
        (b"GGUF\x03", "GGUF"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"\xfd7zXZ\0", "xz"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"hello", "not an HDF5 file"),
        (b"\x89HDF\r\n\x1a\n", "damaged"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 5000, "damaged"),
    ],
)
def test_other_kinds_of_file_are_named_whatever_their_extension(path, start, what):
    path.write_bytes(start)
    assert re.search(what, refusal(path))


def test_real_foreign_files(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    assert "zip archive" in refusal(tmp_path / "a.npz")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["transformer/wte/weight:0"] = np.zeros(3)
    assert "HDF5 file of another program" in refusal(tmp_path / "b.h5")


def test_what_is_not_a_file(tmp_path):
    assert "no such file" in refusal(tmp_path / "absent.h5")
    assert "not a regular file" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refusal(tmp_path / "pipe")


# -- hostile files: signed manifest, wrong contents


def replace_tensor(make):
    def change(file, manifest):
        shape, dtype = file["tensors/x"].shape, file["tensors/x"].dtype
        del file["tensors/x"]
        make(file, shape, dtype)

    return change


def virtual(file, shape, dtype):
    layout = h5py.VirtualLayout(shape=shape, dtype=dtype)
    layout[:] = h5py.VirtualSource("other.h5", "x", shape=shape)
    file.create_virtual_dataset("tensors/x", layout)


HOSTILE = {
    "soft link": (lambda f, s, t: f.__setitem__("tensors/x", h5py.SoftLink("/tensors/y")), "link to elsewhere"),
    "external link": (lambda f, s, t: f.__setitem__("tensors/x", h5py.ExternalLink("o.h5", "x")), "link to elsewhere"),
    "external storage": (
        lambda f, s, t: f.create_dataset("tensors/x", s, t, external=[("/etc/hostname", 0, 400)]), "outside the file"),
    "virtual": (virtual, "stored in pieces"),
    "chunked": (lambda f, s, t: f.create_dataset("tensors/x", s, t, chunks=True), "stored in pieces"),
    "filter": (lambda f, s, t: f.create_dataset("tensors/x", s, t, compression="gzip"), "filtered"),
    "group": (lambda f, s, t: f.create_group("tensors/x"), "not a data set"),
    "named type": (lambda f, s, t: f.__setitem__("tensors/x", np.dtype("f4")), "not a data set"),
    "dtype": (lambda f, s, t: f.create_dataset("tensors/x", s, "f8"), r"is float64 .*manifest says float32"),
    "endian": (lambda f, s, t: f.create_dataset("tensors/x", s, ">f4"), "manifest says"),
    "compound": (lambda f, s, t: f.create_dataset("tensors/x", s, [("a", "f4")]), "manifest says"),
    "text": (lambda f, s, t: f.create_dataset("tensors/x", s, h5py.string_dtype()), "manifest says"),
    "shape": (lambda f, s, t: f.create_dataset("tensors/x", (10, 11), t), r"is float32 \(10, 11\).*manifest says"),
    "null": (lambda f, s, t: f.create_dataset("tensors/x", data=h5py.Empty("f4")), "manifest says"),
    "huge": (lambda f, s, t: f.create_dataset("tensors/x", (2**50,), t), "manifest says"),
    "zeros never written": (lambda f, s, t: f.create_dataset("tensors/x", s, t), "wrong digest"),
    "missing": (lambda f, s, t: None, r"lacks \['x'\]"),
    "extra": (lambda f, s, t: [f.create_dataset(f"tensors/{n}", s, t) for n in "xz"], r"has \['z'\] too many"),
    "third member": (lambda f, s, t: f.create_group("more"), "another program"),
}


@pytest.mark.parametrize(("make", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_tensors_are_refused(path, make, message):
    save(path, {"x": np.ones((10, 10), np.float32), "y": np.ones((10, 10), np.float32)}, {})
    edit(path, replace_tensor(make))
    assert re.search(message, refusal(path))


def declare(**fields):
    return lambda file, manifest: manifest["tensors"]["x"].update(fields)


HOSTILE_MANIFESTS = {
    "huge": (declare(shape=[2**50]), "declares 2251799813685248 bytes"),
    "infinite": (declare(shape=[1e999]), r"'x' is declared with shape \[inf\]"),
    "negative": (declare(shape=[-1, 100]), r"'x' is declared with shape \[-1, 100\]"),
    "many axes": (declare(shape=[1] * 33), "'x' is declared with shape"),
    "a huge product": (declare(shape=[2**63 - 1] * 32), "declares [0-9]+ bytes"),
    "unknown dtype": (declare(dtype="object"), "'x' is declared as 'object'"),
    "dtype is a list": (declare(dtype=[]), r"'x' is declared as \[\]"),
    "shape is text": (declare(shape="10"), "'x' is declared with shape '10'"),
    "no digest": (lambda f, m: m["tensors"]["x"].pop("digest") and None, "not declared by dtype, shape and digest"),
    "digest is a number": (declare(digest=1), "wrong digest"),
    "long format": (lambda f, m: m.update(format="x" * 10**6), "it holds 'xxx.{1,60}, version 1, not"),
    "other format": (lambda f, m: m.update(format="a\nb"), "use the program that wrote it"),
    "newer version": (lambda f, m: m.update(version=2), "version 2, not"),
    "no tensors": (lambda f, m: m.pop("tensors") and None, "does not have the fields"),
    "tensors is a list": (lambda f, m: m.update(tensors=[]), "tensors is a list"),
    "a name twice": (lambda f, m: b'{"format": 1, "format": 2}', "'format' twice"),
    "a huge number": (lambda f, m: b'{"format": ' + b"9" * 10_000 + b"}", "cannot be read"),
    "metadata is a list": (lambda f, m: m.update(metadata=[]), "metadata is a list"),
    "not JSON": (lambda f, m: b"{", "cannot be read"),
    "deep JSON": (lambda f, m: b"[" * 100_000, "cannot be read"),
    "JSON list": (lambda f, m: b"[]", "does not have the fields"),
}


@pytest.mark.parametrize(("change", "message"), HOSTILE_MANIFESTS.values(), ids=HOSTILE_MANIFESTS.keys())
def test_hostile_manifests_are_refused(path, change, message):
    save(path, {"x": np.ones((10, 10), np.float16)}, {})
    edit(path, change)
    assert re.search(message, refusal(path))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: f.create_dataset("manifest", (2**50,), "u1"), "not a line of text"),
        (lambda f: f.create_dataset("manifest", (64,), "f4"), "not a line of text"),
        (lambda f: f.create_dataset("manifest", data=h5py.Empty("u1")), "not a line of text"),
        (lambda f: f.create_dataset("manifest", (64,), "u1"), "wrong digest"),
        (lambda f: f.__setitem__("manifest", h5py.SoftLink("/tensors")), "link to elsewhere"),
    ],
)
def test_hostile_manifest_data_sets_are_refused(path, make, message):
    save(path, {"x": np.ones(4)}, {})
    with h5py.File(path, "a") as file:
        del file["manifest"]
        make(file)
    assert message in refusal(path)


def test_tensors_behind_an_external_link_are_refused(path, tmp_path):
    save(tmp_path / "other.h5", {"x": np.ones(4)}, {})
    save(path, {"x": np.ones(4)}, {})
    with h5py.File(path, "a") as file:
        del file["tensors"]
        file["tensors"] = h5py.ExternalLink("other.h5", "tensors")
    assert "link to elsewhere" in refusal(path)


def test_a_swapped_tensor_is_noticed(path):
    save(path, {"x": np.ones(4), "y": np.zeros(4)}, {})
    with h5py.File(path, "a") as file:
        file.move("tensors/x", "tensors/z")
        file.move("tensors/y", "tensors/x")
        file.move("tensors/z", "tensors/y")
    assert "'x' is damaged (wrong digest)" in refusal(path)


def test_memory_error_is_not_called_damage(path, monkeypatch):
    save(path, {"x": np.ones(4)}, {})

    def no_memory(*args):
        raise MemoryError

    monkeypatch.setattr(native, "_digest", no_memory)
    with pytest.raises(MemoryError):
        load(path)


# -- files that are well signed, with mutated contents


SCALARS = (None, True, False, -1, 0, 1, 2**31, 2**63, 10**30, 0.5, 1e308, "", "x", "float32", [], [0], {}, {"x": 1})


def mutated(value, random):
    """A JSON value with one change somewhere in it: a member that is gone, doubled, renamed or of another kind."""
    if isinstance(value, dict | list) and value and random.random() < 0.8:
        copied = value.copy()
        key = random.choice([*value] if isinstance(value, dict) else range(len(value)))
        what = random.random()
        if what < 0.15:
            del copied[key]
        elif what < 0.3 and isinstance(value, dict):
            copied["x" * random.randrange(4)] = copied.pop(key)
        elif what < 0.3:
            copied += copied
        else:
            copied[key] = mutated(value[key], random)
        return copied
    return random.choice(SCALARS)


def test_mutated_contents_with_good_digests_are_read_or_refused(path):
    save_model(path, tiny.classifier())
    image = path.read_bytes()
    random = Random(0)
    refusals = []
    for _ in range(MUTANTS):
        path.write_bytes(image)
        with h5py.File(path, "a") as file:
            text = file["manifest"][()].tobytes().partition(b"\n")[2]
        manifest = mutated(json.loads(text), random)
        edit(path, lambda file, old, manifest=manifest: json.dumps(manifest).encode())
        try:
            load_model(path)
        except CheckpointError as error:
            refusals.append(str(error))
    assert len(refusals) > MUTANTS / 2
    assert not any("\n" in refusal for refusal in refusals)
