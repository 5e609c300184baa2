"""The published models: known by their digests, complete or not there."""

import contextlib
import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import loopback
import pytest
import stand_ins

from tinygrad_gpt import files
from tinygrad_gpt.checkpoints import download as module
from tinygrad_gpt.checkpoints import transfer
from tinygrad_gpt.checkpoints.download import MODELS, cache_folder, download, downloaded
from tinygrad_gpt.checkpoints.gpt2_files import read_gpt2
from tinygrad_gpt.errors import CheckpointError, DataError, ResourceError, TinygradError, UsageError
from tinygrad_gpt.files import part_of, sha256_of
from tinygrad_gpt.models.gpt2 import GPT2Config
from tinygrad_gpt.text import Tokenizer, WordPiece

NAMES = ["config.json", "download.json", "merges.txt", "model.safetensors", "vocab.json"]
FOLDER = "/openai-community/gpt2/resolve/1a"


@pytest.fixture(scope="module")
def listener():
    with loopback.serving(stand_ins.at(FOLDER) | stand_ins.at("/mirror") | stand_ins.at(
            "/openai-community/gpt2-xl/resolve/2b")) as state:
        yield state


@pytest.fixture(autouse=True)
def server(listener, tmp_path, monkeypatch):
    """A hub with stand-ins for the models, and a cache folder that is not there yet."""
    listener.plan.clear()
    listener.asked.clear()
    stand_ins.replace_models(monkeypatch)
    monkeypatch.setattr(module, "HUB", listener.url + "/{repository}/resolve/{revision}")
    monkeypatch.setattr(transfer, "PIECE", 500)
    monkeypatch.setattr(transfer, "WAITS", (0.0, 0.0))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("TINYGRAD_GPT_CACHE", str(tmp_path / "cache"))
    return listener


@pytest.fixture
def mirror(tmp_path):
    """A folder with the files."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    for name, data in stand_ins.FILES.items():
        (folder / name).write_bytes(data)
    return folder


def assert_complete(folder, name="gpt2"):
    assert sorted(path.name for path in folder.iterdir()) == NAMES
    assert {file: (folder / file).read_bytes() for file in stand_ins.FILES} == stand_ins.FILES
    if folder.parent == cache_folder():
        assert downloaded(name) == folder


def test_what_is_known_of_the_real_models(monkeypatch):
    monkeypatch.undo()
    assert list(MODELS) == ["gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "minilm"]
    for name, model in MODELS.items():
        assert re.fullmatch("[0-9a-f]{40}", model.revision)
        assert all(re.fullmatch("[0-9a-f]{64}", sha256) for _, sha256, _ in model.files)
        (weights, _, size), config = model.files[0], model.config
        assert weights == "model.safetensors"
        if name == "minilm":
            continue
        assert model.repository == f"openai-community/{name}"
        assert config["n_embd"] == 64 * config["n_head"]
        tied = 50257 * config["n_embd"] + 1024 * config["n_embd"] + 2 * config["n_embd"]
        weights = tied + config["n_layer"] * (12 * config["n_embd"]**2 + 13 * config["n_embd"])
        masks = config["n_layer"] * 1024 * 1024  # buffers that were published with the weights
        assert size is None or 0 < size - 4 * (weights + masks) < 100_000
    assert len({model.files[0][1] for model in MODELS.values()}) == 5


def test_what_is_known_of_the_real_vocabulary(monkeypatch, shared_data):
    monkeypatch.undo()
    for (_, sha256, size), name in zip(module.GPT2_VOCABULARY, ["encoder.json", "vocab.bpe"], strict=True):
        path = shared_data / "gpt2" / name
        assert (sha256_of(path), path.stat().st_size) == (sha256, size)


def test_minilm_from_a_folder(monkeypatch, shared_data, tmp_path):
    """The published bytes are those that are expected, and the config.json says of them what the published one does."""
    monkeypatch.undo()
    monkeypatch.setenv("TINYGRAD_GPT_CACHE", str(tmp_path))
    published = shared_data / "models" / "minilm"
    folder = download("minilm", source=str(published))
    assert downloaded("minilm") == folder
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json", "download.json", "model.safetensors", "tokenizer.json", "vocab.txt"]
    theirs, ours = (json.loads((place / "config.json").read_text()) for place in (published, folder))
    assert {name: theirs[name] for name in ours} == ours
    assert WordPiece.from_pretrained(folder) == WordPiece.from_pretrained(published)


@pytest.mark.parametrize("name", ["gpt2", "gpt2-xl"])
def test_everything_arrives_in_a_folder_of_its_own(server, tmp_path, name):
    reports = []
    assert downloaded(name) is None
    folder = download(name, report=lambda *figures: reports.append(figures))
    assert folder == tmp_path / "cache" / name
    assert_complete(folder, name)
    assert [path.rpartition("/")[2] for path, _ in server.asked] == list(stand_ins.FILES)
    assert reports[0] == ("model.safetensors", 500, 4000)
    assert [(file, done) for file, done, total in reports if done == total] == [
        (file, len(data)) for file, data in stand_ins.FILES.items()]


def test_only_the_user_can_read_the_cache():
    assert download("gpt2").stat().st_mode & 0o777 == 0o700


def test_the_config_is_the_one_that_hugging_face_publishes():
    assert json.loads((download("gpt2") / "config.json").read_text()) == {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "activation_function": "gelu_new",
        "vocab_size": 50257, "n_positions": 1024, "n_ctx": 1024, "n_embd": 4, "n_layer": 1, "n_head": 2,
        "layer_norm_epsilon": 1e-5, "bos_token_id": 50256, "eos_token_id": 50256}


def test_what_is_complete_is_not_fetched_again(server):
    folder = download("gpt2")
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    server.asked.clear()
    assert download("gpt2") == folder
    assert server.asked == []
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_gone_or_shorter_makes_the_folder_incomplete(name):
    path = download("gpt2") / name
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert downloaded("gpt2") is None
    path.unlink()
    assert downloaded("gpt2") is None
    assert_complete(download("gpt2"))
    assert path.read_bytes() == content


@pytest.mark.parametrize("name", stand_ins.FILES)
def test_another_file_is_never_overwritten(server, tmp_path, name):
    other = tmp_path / "mine" / name
    other.parent.mkdir()
    other.write_bytes(b"precious")
    with pytest.raises(CheckpointError, match=r"^another file is in the way \(.*\): its sha256 is .*; move or delete"):
        download("gpt2", folder=other.parent)
    assert other.read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["", "gpt3", "gpt2/../gpt2", "/", "a\0b", "GPT2", "."])
def test_names_that_are_none(server, name):
    assert downloaded(name) is None
    with pytest.raises(UsageError, match=r"it is not one of gpt2, gpt2-xl; use one of these names$"):
        download(name)
    assert server.asked == []


@pytest.mark.parametrize("place", ["/mirror", "/mirror/"])
def test_from_a_mirror(server, place):
    assert_complete(download("gpt2", source=server.url + place))
    assert server.asked[0] == ("/mirror/model.safetensors", None)


def test_from_a_folder_to_a_folder(server, mirror, tmp_path):
    assert_complete(download("gpt2", source=f"{mirror}/", folder=tmp_path / "a" / "b"))
    assert downloaded("gpt2") is None
    assert server.asked == []


def test_a_folder_that_has_the_files_is_made_complete(mirror):
    assert_complete(download("gpt2", source=str(mirror), folder=mirror))


@pytest.mark.parametrize("source", ["", "absent", "mirror/model.safetensors"])
def test_a_folder_that_is_none(mirror, monkeypatch, source):
    monkeypatch.chdir(mirror.parent)
    with pytest.raises(DataError, match=r"no such folder; check --from$"):
        download("gpt2", source=source)
    assert not cache_folder().exists()


def test_a_file_that_is_missing_there(mirror):
    (mirror / "merges.txt").unlink()
    with pytest.raises(DataError, match=r"merges.txt\): no such file; check --from$"):
        download("gpt2", source=str(mirror))
    assert not cache_folder().exists()
    (mirror / "merges.txt").write_bytes(stand_ins.FILES["merges.txt"])
    assert_complete(download("gpt2", source=str(mirror)))


def test_a_stopped_download_goes_on_from_another_place(server, mirror):
    server.plan += [("cut", 2100), ("status", 404)]
    with pytest.raises(TinygradError, match="404"):
        download("gpt2")
    part = part_of(cache_folder() / "gpt2" / "model.safetensors")
    assert part.read_bytes() == stand_ins.FILES["model.safetensors"][:2000]
    server.asked.clear()
    assert_complete(download("gpt2", source=server.url + "/mirror"))
    assert server.asked[0] == ("/mirror/model.safetensors", "bytes=2000-")


def test_a_failure_before_a_byte_has_arrived_leaves_no_folder(server, tmp_path):
    server.plan += [("status", 404)] * 3
    for folder in (None, tmp_path / "a" / "b"):
        with pytest.raises(TinygradError, match="404"):
            download("gpt2", folder=folder)
    assert list(tmp_path.iterdir()) == []
    own = tmp_path / "own"
    own.mkdir()
    with pytest.raises(TinygradError, match="404"):
        download("gpt2", folder=own / "new")
    assert list(tmp_path.rglob("*")) == [own]


@pytest.mark.parametrize("source", ["ftp://127.0.0.1/x", "file:///etc", "https:x://y"])
def test_an_address_of_another_kind_is_refused_before_anything_is_made(server, tmp_path, source):
    with pytest.raises(TinygradError, match=r"^cannot download \(.*model.safetensors\): the address does not begin "
                                            r"with http:// or https://; use another --from$"):
        download("gpt2", source=source)
    assert list(tmp_path.iterdir()) == []
    assert server.asked == []


@pytest.mark.parametrize("k", range(1, 58))
def test_a_full_disk_at_every_operation(mirror, monkeypatch, k):
    """What was reported complete is complete; a second call makes it so, wherever the first one failed."""
    calls = []

    def failing(call):
        def wrapper(*args):
            calls.append(call)
            if len(calls) == k:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return call(*args)

        return wrapper

    for name, call in list(vars(files.system).items()):
        monkeypatch.setattr(files.system, name, failing(call))
    with contextlib.suppress(ResourceError):  # a stale temporary that cannot be looked for is no failure
        download("gpt2", source=str(mirror))
    assert len(calls) >= k
    for file, data in stand_ins.FILES.items():
        path = cache_folder() / "gpt2" / file
        assert not path.exists() or path.read_bytes() == data
    folder = download("gpt2", source=str(mirror))
    assert downloaded("gpt2") == folder
    assert {file: (folder / file).read_bytes() for file in stand_ins.FILES} == stand_ins.FILES


def test_two_at_once():
    """The second says who is at work; the first is not disturbed."""
    arrived, go_on = threading.Event(), threading.Event()

    def wait(*figures):
        arrived.set()
        go_on.wait(30)

    first = threading.Thread(target=download, args=("gpt2",), kwargs={"report": wait})
    first.start()
    try:
        assert arrived.wait(30)
        with pytest.raises(UsageError, match=rf"process {os.getpid()} is writing there; wait for it"):
            download("gpt2")
    finally:
        go_on.set()
        first.join()
    assert_complete(cache_folder() / "gpt2")


CHILD = """
import os, signal, sys
import pytest, stand_ins
from tinygrad_gpt.checkpoints import download, transfer
stand_ins.replace_models(pytest.MonkeyPatch())
transfer.PIECE = 500
download.download("gpt2", source=sys.argv[1], report=lambda *figures: os.kill(os.getpid(), signal.SIGKILL))
"""


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_killed_process_keeps_nobody_out(server):
    paths = [str(Path(files.__file__).parents[1]), str(Path(stand_ins.__file__).parent)]
    child = subprocess.run([sys.executable, "-c", CHILD, server.url + "/mirror"], capture_output=True, timeout=60,
                           env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}, check=False)
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    assert downloaded("gpt2") is None
    server.asked.clear()
    assert_complete(download("gpt2", source=server.url + "/mirror"))
    assert server.asked[0] == ("/mirror/model.safetensors", "bytes=500-")


def test_what_arrives_is_a_model(monkeypatch, tmp_path, shared_data):
    """Weights, settings and vocabulary of a narrow GPT-2 with the published vocabulary, from a server to the reader."""
    made, content = stand_ins.narrow_gpt2(tmp_path / "made", shared_data)
    stand_ins.replace_models(monkeypatch, content)
    monkeypatch.setattr(transfer, "PIECE", 100_000)
    with loopback.serving(stand_ins.at("/narrow", content)) as server:
        server.plan += [("cut", 300_000)]
        folder = download("gpt2", source=server.url + "/narrow")
    config, tensors = read_gpt2(folder)
    assert GPT2Config(**config) == made.config
    assert {name: array.tobytes() for name, array in tensors.items()} == {
        name: array.tobytes() for name, array in made.arrays().items()}
    assert Tokenizer.from_pretrained(folder).vocab_size == 50257


# -- the folder


def test_the_cache_folder_is_the_users_own(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("TINYGRAD_GPT_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder().is_relative_to(tmp_path)
    assert cache_folder().name == "tinygrad_gpt"


def test_no_home(monkeypatch):
    monkeypatch.delenv("TINYGRAD_GPT_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # a user without an entry has no home
    with pytest.raises(TinygradError, match=r"^no cache folder \(HOME\): .*; set TINYGRAD_GPT_CACHE to a folder$"):
        download("gpt2")


@pytest.mark.parametrize("place", ["/dev/null/cache", "/proc/cache"])
def test_a_place_where_no_folder_can_be_made(monkeypatch, place):
    monkeypatch.setenv("TINYGRAD_GPT_CACHE", place)
    with pytest.raises(TinygradError, match=r"^cannot make the folder \(/.*\): .*; set TINYGRAD_GPT_CACHE"):
        download("gpt2")
    assert downloaded("gpt2") is None


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions bind nobody here")
def test_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(TinygradError, match="permission denied"):
        download("gpt2")


@pytest.mark.parametrize("name", NAMES[:1] + NAMES[2:])
def test_a_file_of_another_model_is_not_replaced(name, tmp_path, mirror):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / name).write_text("precious")
    with pytest.raises(CheckpointError, match=r"another file is in the way .*; move or delete it"):
        download("gpt2", source=str(mirror), folder=folder)
    assert (folder / name).read_text() == "precious"


@pytest.mark.parametrize("address", ["http://me:secret@127.0.0.1:1/x", "http://127.0.0.1:1/x?token=secret",
                                     "ftp://me:secret@host/x"])
def test_a_password_in_an_address_is_not_shown(address, tmp_path):
    with pytest.raises(TinygradError, match="cannot download") as caught:
        download("gpt2", source=address, folder=tmp_path / "new")
    assert "secret" not in str(caught.value)
