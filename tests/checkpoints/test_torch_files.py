"""State dicts of torch.save are mapped from their archive; damaged and hostile archives are refused in one line."""

import struct
import zipfile

import numpy as np
import pytest
import state_dicts as sd
from refusals import refusal_of

from tinygrad_gpt.checkpoints import torch_files
from tinygrad_gpt.checkpoints.torch_files import read_torch

RANDOM = np.random.default_rng(0)
TENSORS = {"a.weight": RANDOM.normal(size=(5, 3)).astype(np.float32), "a.bias": np.float32([1, 2, 3]),
           "half": np.float16([[1.5, -2]]), "number": np.int64([7]), "none": np.zeros((0, 4), np.float32)}


def loaded(path):
    return {name: tensor.load() for name, tensor in read_torch(path).items()}


def refusal(path):
    message = refusal_of(loaded, path)
    assert len(message) < 200
    return message


def assert_read(path, expected):
    found = read_torch(path)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].shape == array.shape
        if found[name].is_float:
            np.testing.assert_array_equal(found[name].load(), array, err_msg=name)


@pytest.mark.parametrize("key", [None, "model_state_dict", "state_dict", "model"])
def test_a_state_dict_alone_or_beside_that_of_an_optimizer(tmp_path, key):
    assert_read(sd.state_dict_file(tmp_path / "model.pth", TENSORS, key), TENSORS)


def test_of_torch_itself(tmp_path):
    torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in TENSORS.items()}
    tensors |= {"brain": torch.randn(4, 3).bfloat16(), "turned": torch.randn(4, 3).T, "part": torch.randn(9)[2:7],
                "steps": torch.randn(4, 6)[:, ::2], "parameter": torch.nn.Parameter(torch.randn(3)),
                "scalar": torch.tensor(3.5)}
    tensors["same"] = tensors["a.weight"]
    for content in (tensors, {"model_state_dict": tensors, "epoch": 3, "losses": [1.5, 2.5], "args": {"lr": 1e-3}}):
        torch.save(content, tmp_path / "model.pth")
        assert_read(tmp_path / "model.pth", {name: value.detach().float().numpy() if value.is_floating_point()
                                             else value.numpy() for name, value in tensors.items()})
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    torch.save({"model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict()},
               tmp_path / "both.pth")
    assert_read(tmp_path / "both.pth", {name: value.numpy() for name, value in model.state_dict().items()})
    torch.save(model, tmp_path / "whole.pth")
    assert "it calls 'torch.nn.modules.container.Sequential'" in refusal(tmp_path / "whole.pth")
    torch.save(tensors["half"].to(torch.complex64), tmp_path / "complex.pth")
    assert "it calls 'torch.ComplexFloatStorage'" in refusal(tmp_path / "complex.pth")


def test_float32_is_the_file_itself(tmp_path):
    torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")
    torch.save({"w": torch.randn(5)}, tmp_path / "model.pth")
    before = (tmp_path / "model.pth").read_bytes()
    array = read_torch(tmp_path / "model.pth")["w"].load()
    assert isinstance(array.base, np.memmap)
    array[...] = 0
    assert (tmp_path / "model.pth").read_bytes() == before


# -- what is no state dict


@pytest.mark.parametrize(("body", "what"), [
    (b"}", "it holds no state dict"), (sd.number(3), "it holds no state dict"),
    (b"}(" + sd.text("a") + sd.number(1) + b"u", "it holds no state dict"),
    (b"}(" + sd.text("a") + sd.tensor(sd.storage("FloatStorage", "0", 3), 0, (3,), (1,)) + sd.text("b") + b"]u",
     "has 1 entries that are no tensors with names, the first is 'b'"),
    (b"}(" + sd.number(5) + sd.tensor(sd.storage("FloatStorage", "0", 3), 0, (3,), (1,)) + b"u", "the first is 5"),
    (b"}(" + sd.text("\x1b[2J") + sd.tensor(sd.storage("FloatStorage", "0", 3), 0, (3,), (1,)) + b"u",
     "not a name in at most 256 printable characters"),
    (sd.mapping({"a": sd.tensor(sd.storage("FloatStorage", "0", 4), 0, (3,), (1,))}), "of 12 bytes, not 16"),
    (sd.mapping({"a": sd.tensor(sd.storage("FloatStorage", "0", 2**61), 0, (3,), (1,))}), "of 12 bytes, not"),
    (sd.mapping({"a": sd.tensor(sd.storage("FloatStorage", "../0", 3), 0, (3,), (1,))}), "'../0' is not there"),
])
def test_other_content(tmp_path, body, what):
    path = sd.archive(tmp_path / "model.pth", sd.START + body + sd.STOP, [np.float32([1, 2, 3])])
    assert what in refusal(path)


def test_a_pickle_that_runs_a_program_does_not_run_it(tmp_path):
    victim = tmp_path / "victim"
    body = b"cposix\nsystem\n(" + sd.text(f"touch {victim}") + b"tR"
    path = sd.archive(tmp_path / "model.pth", sd.START + body + sd.STOP)
    assert "it calls 'posix.system'" in refusal(path)
    assert not victim.exists()


# -- archives


def written(path, change=lambda info: None, compression=zipfile.ZIP_STORED, **more):
    """An archive of a small state dict, each entry changed before it is written."""
    pickle = sd.START + sd.pickled({"w": np.float32([1, 2, 3])}) + sd.STOP
    with zipfile.ZipFile(path, "w") as file:
        for name, data in {"m/data.pkl": pickle, "m/data/0": np.float32([1, 2, 3]).tobytes(), **more}.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = compression
            change(info)
            file.writestr(info, data)
    return path


def test_compressed_records_are_refused_before_they_are_unpacked(tmp_path):
    bomb = {"m/data/1": b"\0" * 10**7}
    path = written(tmp_path / "model.pth", compression=zipfile.ZIP_DEFLATED, **bomb)
    assert path.stat().st_size < 20_000
    assert "is compressed or encrypted, which torch.save does not do" in refusal(path)


@pytest.mark.parametrize("name", ["/etc/passwd", "m/../../x", "../m/x", "plain", "m/", "other/data.pkl"])
def test_names_that_lead_elsewhere(tmp_path, name):
    path = written(tmp_path / "model.pth", **{name: b"x"})
    assert f"its record {name!r} is there twice, or is not in its folder" in refusal(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_record_twice(tmp_path):
    path = written(tmp_path / "model.pth")
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("m/data/0", b"\0" * 12)
    assert "'m/data/0' is there twice" in refusal(path)


def patched(path, field, value, entry=1, size="<I"):
    """Change a field of an entry of the central directory."""
    data = bytearray(path.read_bytes())
    at = -1
    for _ in range(entry + 1):
        at = data.index(b"PK\1\2", at + 1)
    data[at + field:at + field + struct.calcsize(size)] = struct.pack(size, value)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("field", "value", "what"), [
    (42, 0, "overlaps another or reaches beyond the file"), (42, 7, "has no header"), (42, 2**31, "has no header"),
    (16, 1, "is damaged (wrong checksum)"), (24, 13, "is compressed or encrypted"),
    (8, 1, "is compressed or encrypted")])
def test_entries_that_lie(tmp_path, field, value, what):
    assert what in refusal(patched(written(tmp_path / "model.pth"), field, value))


def test_sizes_beyond_the_file(tmp_path):
    path = written(tmp_path / "model.pth")
    patched(path, 20, 2**31)
    assert "overlaps another or reaches beyond the file" in refusal(patched(path, 24, 2**31))


def test_each_flipped_bit_of_a_tensor_or_of_the_pickle_is_noticed(tmp_path):
    path = written(tmp_path / "model.pth")
    data = path.read_bytes()
    for part in (np.float32([1, 2, 3]).tobytes(), b"_rebuild_tensor_v2"):
        at = data.index(part)
        for i in range(at, at + len(part)):
            path.write_bytes(data[:i] + bytes([data[i] ^ 16]) + data[i + 1:])
            assert "is damaged (wrong checksum)" in refusal(path)


@pytest.mark.parametrize("length", [5, 100, 250])
def test_archives_that_were_cut_off(tmp_path, length):
    path = written(tmp_path / "model.pth")
    path.write_bytes(path.read_bytes()[:length])
    assert "its zip archive is damaged" in refusal(path)


def test_the_other_byte_order(tmp_path):
    path = sd.archive(tmp_path / "model.pth", sd.START + sd.pickled({"w": np.float32([1])}) + sd.STOP,
                      [np.float32([1])], byteorder=b"big")
    assert "its numbers are big-endian" in refusal(path)


def test_a_pickle_that_is_too_long_and_too_many_records(tmp_path, monkeypatch):
    path = written(tmp_path / "model.pth")
    monkeypatch.setattr(torch_files, "MAX_PICKLE", 50)
    assert "50 are the most that is read" in refusal(path)
    monkeypatch.setattr(torch_files, "MAX_RECORDS", 1)
    assert "it has 2 records" in refusal(path)
