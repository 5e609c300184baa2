"""A file arrives whole and checked, whatever the server, the line and the disk do."""

import errno
import hashlib
import io
import os
import random
import shutil
import socket
from types import SimpleNamespace

import loopback
import pytest
import requests

from tinygrad_gpt import files
from tinygrad_gpt.checkpoints import transfer
from tinygrad_gpt.checkpoints.transfer import fetch
from tinygrad_gpt.errors import CheckpointError, DataError, ResourceError, TinygradError
from tinygrad_gpt.files import part_of

DATA = random.Random(0).randbytes(5000)
SIZE = len(DATA)
SHA256 = hashlib.sha256(DATA).hexdigest()
NAME = "/gpt2/model.safetensors"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Small pieces, no waiting, no proxy."""
    monkeypatch.setattr(transfer, "PIECE", 500)
    monkeypatch.setattr(transfer, "WAITS", (0.0, 0.0, 0.001, 0.001))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="module")
def listener():
    with loopback.serving({NAME: DATA}) as state:
        yield state


@pytest.fixture
def server(listener):
    listener.plan.clear()
    listener.asked.clear()
    return listener


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def get(source, path, sha256=SHA256, size=SIZE, report=lambda done, total: None):
    fetch(str(source), path, sha256, size=size, report=report)


def assert_whole(path):
    assert path.read_bytes() == DATA
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("size", [SIZE, None])
def test_one_request_and_the_progress(server, path, size):
    reports = []
    get(server.url + NAME, path, size=size, report=lambda *figures: reports.append(figures))
    assert_whole(path)
    assert reports == [(done, 5000) for done in range(500, 5001, 500)]
    assert server.asked == [(NAME, None)]


@pytest.mark.parametrize("points", [[0], [1], [499], [500], [2750], [4999], [1000, 500], [0, 1700, 3, 600, 0, 1200]])
def test_a_cut_connection_goes_on_where_it_was(server, path, points):
    server.plan += [("cut", point) for point in points]
    get(server.url + NAME, path)
    assert_whole(path)
    assert len(server.asked) == len(points) + 1
    have = 0
    for (_, asked), point in zip(server.asked, [*points, 0], strict=True):
        assert asked == (f"bytes={have}-" if have else None)
        have += point // 500 * 500  # whole pieces


def test_cuts_without_progress_come_to_an_end_and_keep_what_is_there(server, path):
    server.plan += [("cut", 1200)] + [("cut", 0)] * 5
    with pytest.raises(TinygradError, match=r"^cannot download \(http.*\): .*; run the command again, it goes on") as e:
        get(server.url + NAME, path)
    assert len(str(e.value).splitlines()) == 1
    assert len(server.asked) == 1 + len(transfer.WAITS)
    assert not path.exists()
    assert part_of(path).read_bytes() == DATA[:1000]
    server.plan.clear()
    server.asked.clear()
    get(server.url + NAME, path)
    assert_whole(path)
    assert server.asked == [(NAME, "bytes=1000-")]


@pytest.mark.parametrize("size", [SIZE, None])
def test_a_server_that_ignores_ranges_sends_it_all_again(server, path, size):
    server.plan += [("cut", 3000), ("no range",)]
    get(server.url + NAME, path, size=size)
    assert_whole(path)
    assert [asked for _, asked in server.asked] == [None, "bytes=3000-"]


def test_a_server_that_sends_another_range_is_refused(server, path):
    server.plan += [("cut", 3000), ("other range",)]
    with pytest.raises(TinygradError, match="sends other bytes than it was asked for; use another --from"):
        get(server.url + NAME, path)
    assert part_of(path).read_bytes() == DATA[:3000]


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_a_busy_server_is_asked_again(server, path, status):
    server.plan += [("status", status)] * 2
    get(server.url + NAME, path)
    assert_whole(path)
    assert len(server.asked) == 3


def test_a_server_that_stays_busy(server, path):
    server.plan += [("status", 503)] * 3
    with pytest.raises(TinygradError, match="the server answers 503 Service Unavailable; run the command again"):
        get(server.url + NAME, path)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 204])
def test_a_refusal_is_final(server, path, status):
    server.plan += [("status", status)]
    with pytest.raises(TinygradError, match=rf"the server answers {status} .*; check the address"):
        get(server.url + NAME, path)
    assert len(server.asked) == 1
    assert list(path.parent.iterdir()) == []


def test_a_redirect_is_followed_with_its_range(server, path):
    part_of(path).write_bytes(DATA[:700])
    server.plan += [("redirect", NAME)]
    get(server.url + "/elsewhere", path)
    assert_whole(path)
    assert server.asked == [("/elsewhere", "bytes=700-"), (NAME, "bytes=700-")]


@pytest.mark.parametrize(("location", "asked"), [
    ("http://elsewhere.example/model", 1), ("HTTP://host.example/model", 1), ("/model", 2),
    ("https://elsewhere.example/model", 2)])
def test_https_is_never_left_for_http(path, monkeypatch, location, asked):
    urls = []

    def send(adapter, request, **settings):
        urls.append(request.url)
        response = requests.Response()
        response.request, response.url, response.raw = request, request.url, io.BytesIO(DATA)
        response.status_code = 302 if len(urls) == 1 else 404
        response.headers["Location"] = location
        return response

    monkeypatch.setattr("requests.adapters.HTTPAdapter.send", send)
    match = "redirects to an address without encryption; use another" if asked == 1 else "answers 404"
    with pytest.raises(TinygradError, match=match) as error:
        get("https://me:secret@host.example/gpt2", path)
    assert len(urls) == asked
    assert "secret" not in str(error.value)
    assert list(path.parent.iterdir()) == []


def test_redirects_in_a_circle(server, path):
    server.plan += [("redirect", NAME)] * 40
    with pytest.raises(TinygradError, match=r"redirects.*; check the address"):
        get(server.url + NAME, path)


def test_a_wrong_digest_leaves_nothing(server, path):
    with pytest.raises(CheckpointError) as caught:
        get(server.url + NAME, path, sha256="0" * 64)
    assert str(caught.value) == (f"wrong file ({server.url}{NAME}): its sha256 is {SHA256[:16]}…, expected "
                                 f"{'0' * 16}…; "
                                 "it was removed, try again or another --from")
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("part", [b"another file", b"x" * 5000, b"x" * 6000, DATA + b"x"])
@pytest.mark.parametrize("size", [SIZE, None])
def test_a_part_of_another_file_is_thrown_away(server, path, part, size):
    part_of(path).write_bytes(part)
    get(server.url + NAME, path, size=size)
    assert_whole(path)
    assert [asked for _, asked in server.asked] == [f"bytes={len(part)}-", None]


def test_a_part_that_is_whole_needs_no_byte(server, path):
    part_of(path).write_bytes(DATA)
    get(server.url + NAME, path)
    assert_whole(path)
    assert server.asked == [(NAME, "bytes=5000-")]


@pytest.mark.parametrize("have", [0, 1000])
def test_a_wrong_length_is_refused_before_the_first_byte(server, path, have):
    part_of(path).write_bytes(DATA[:have])
    with pytest.raises(CheckpointError, match=r"it has 5,000 bytes, expected 4,999; use another --from"):
        get(server.url + NAME, path, size=4999)
    assert len(server.asked) == 1
    assert part_of(path).read_bytes() == DATA[:have]


def test_a_server_that_promises_too_little(server, path):
    server.plan += [("length", "4000")]
    with pytest.raises(CheckpointError, match="wrong file"):
        get(server.url + NAME, path, size=None)
    assert list(path.parent.iterdir()) == []


def test_a_server_that_promises_too_much(server, path):
    server.plan += [("length", "6000")]
    get(server.url + NAME, path, size=None)
    assert_whole(path)
    assert server.asked[1:] == [(NAME, "bytes=5000-")]


def test_a_length_that_is_not_said(server, path):
    server.plan += [("chunked", 0)]
    get(server.url + NAME, path)
    assert_whole(path)
    path.unlink()
    server.plan += [("chunked", 0)]
    with pytest.raises(TinygradError, match="does not say how long the file is"):
        get(server.url + NAME, path, size=None)


def test_a_server_that_does_not_stop(server, path):
    server.plan += [("chunked", 10**6)]
    reports = []
    with pytest.raises(CheckpointError, match="wrong file"):
        get(server.url + NAME, path, report=lambda done, total: reports.append(done))
    assert max(reports) <= SIZE + transfer.PIECE
    assert list(path.parent.iterdir()) == []


def test_no_room_is_said_before_the_start(server, path, monkeypatch):
    part_of(path).write_bytes(DATA[:1000])
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=3999))
    with pytest.raises(ResourceError, match=r"^no room \(.*\): it takes 4,000 bytes more and 3,999 are free; free "):
        get(server.url + NAME, path)
    assert part_of(path).read_bytes() == DATA[:1000]
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=4000))
    get(server.url + NAME, path)
    assert_whole(path)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("k", range(1, 18))
def test_every_operation_on_the_disk_fails_once(server, path, monkeypatch, k, code):
    calls = []

    def failing(name, call):
        def wrapper(*args):
            calls.append(name)
            if len(calls) == k:
                raise OSError(code, os.strerror(code))
            return call(*args)

        return wrapper

    for name, call in list(vars(files.system).items()):
        monkeypatch.setattr(files.system, name, failing(name, call))
    with pytest.raises(TinygradError, match=r"^cannot write \(") as caught:
        get(server.url + NAME, path)
    assert isinstance(caught.value, ResourceError) == (code == errno.ENOSPC)
    assert len(calls) >= k
    assert not path.exists() or path.read_bytes() == DATA
    if not path.exists():
        get(server.url + NAME, path)
    assert_whole(path)


@pytest.mark.parametrize("when", [500, 2500, 5000])
def test_interrupted_and_continued(server, path, when):
    def stop(done, total):
        if done == when:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(server.url + NAME, path, report=stop)
    assert not path.exists()
    assert part_of(path).read_bytes() == DATA[:when]
    get(server.url + NAME, path)
    assert_whole(path)
    assert server.asked[-1] == (NAME, f"bytes={when}-")


def test_nobody_listens(path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(TinygradError, match=r": connection refused; run the command again"):
        get(f"http://127.0.0.1:{port}{NAME}", path)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "http://", "http://[", "://x", "http://127.0.0.1:99999/x",
                                 "http://a..b/x"])
def test_addresses_that_are_none(url, path):
    with pytest.raises(TinygradError, match=r"^cannot download \(.*\): .+; ") as caught:
        get(url, path)
    assert "\n" not in str(caught.value)
    assert list(path.parent.iterdir()) == []


# -- from a folder


def test_a_copy(tmp_path, path):
    source, reports = tmp_path / "source", []
    source.write_bytes(DATA)
    part_of(path).write_bytes(b"of an earlier try")
    get(source, path, report=lambda *figures: reports.append(figures))
    assert path.read_bytes() == DATA
    assert not part_of(path).exists()
    assert reports[-1] == (5000, 5000)


@pytest.mark.parametrize(("content", "size", "error", "text"), [
    (b"", None, CheckpointError, "its sha256 is e3b0c4"), (DATA[:-1] + b"?", 5000, CheckpointError, "its sha256 is"),
    (DATA[:-1], 5000, CheckpointError, "it has 4,999 bytes, expected 5,000"), (None, 5000, DataError, "no such file"),
])
def test_a_wrong_copy(tmp_path, content, size, error, text):
    source, target = tmp_path / "source", tmp_path / "target"
    target.mkdir()
    if content is not None:
        source.write_bytes(content)
    with pytest.raises(error, match=text):
        get(source, target / "model.safetensors", size=size)
    assert list(target.iterdir()) == []


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="this system has no /proc")
def test_a_source_that_cannot_be_read(path):
    with pytest.raises(DataError, match=r"^cannot read \(/proc/self/mem\): input/output error; check --from$"):
        get("/proc/self/mem", path, size=None)
    assert not path.exists()
