"""The server on a real port: many clients at once, clients that leave, and addresses that cannot be had."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")
from serving import answering

from tinygrad_gpt.errors import TinygradError, UsageError
from tinygrad_gpt.recipes.classification.classify import classify
from tinygrad_gpt.serve.server import listening


def test_64_clients_get_their_own_answers(served, saved):
    texts = [f"{word} {i}" for i in range(16) for word in ("ice ski", "loop bug", "sand heat", "swim")]
    expected = [one.probability for one in classify(saved["words"], texts)]

    def ask(i):
        with requests.Session() as session:
            for _ in range(4):
                answer = session.post(f"{served}api/classify", json={"texts": [texts[i]]}, timeout=30)
                assert answer.status_code == 200
                assert answer.json()["answers"][0]["probability"] == pytest.approx(expected[i], rel=1e-4)
            return session.post(f"{served}api/generate", json={"prompt": texts[i], "max_new_tokens": 3},
                                timeout=30).json()["tokens"]

    with ThreadPoolExecutor(64) as pool:
        assert list(pool.map(ask, range(64))) == [3] * 64
    assert requests.get(f"{served}health", timeout=10).json() == {
        "status": "ok", "texts_waiting": 0, "jobs_waiting": 0, "jobs_running": 0}


def idle(url):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        health = requests.get(f"{url}health", timeout=10).json()
        if not health["jobs_running"] + health["jobs_waiting"]:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("stream", [True, False])
def test_a_connection_that_is_cut_ends_its_generation(served, stream):
    body = json.dumps({"prompt": "bug", "max_new_tokens": 4096, "stream": stream}).encode()
    port = int(served.rstrip("/").rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"POST /api/generate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                           b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        deadline = time.monotonic() + 10
        while not requests.get(f"{served}health", timeout=10).json()["jobs_running"]:
            assert time.monotonic() < deadline
    assert idle(served)


@pytest.mark.parametrize("bytes_", [b"\0\0\0\0\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /\r\n\r\n",
                                    b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
                                    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
                                    b"POST /api/chat HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n"],
                         ids=lambda value: repr(value[:20]))
def test_what_is_no_request_is_refused(served, bytes_):
    port = int(served.rstrip("/").rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(bytes_)
        assert connection.recv(100).startswith(b"HTTP/1.1 4")
    assert requests.get(f"{served}health", timeout=10).json()["status"] == "ok"


@pytest.mark.parametrize("begun", [b"", b"GET /health HT", b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n"])
def test_a_connection_without_a_request_is_closed(models, monkeypatch, begun):
    monkeypatch.setattr("tinygrad_gpt.serve.server.OPENING", 0.2)
    with answering(models) as (url, _):
        port = int(url.rstrip("/").rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(begun)
            assert connection.recv(100) == b""


def test_it_stops_while_a_text_is_written(models):
    lines, begun = [], threading.Event()

    def read(url):
        with requests.post(f"{url}api/generate", json={"prompt": "bug", "max_new_tokens": 4096, "stream": True},
                           stream=True, timeout=30) as answer:
            for line in answer.iter_lines():
                lines.append(json.loads(line))
                begun.set()

    with answering(models) as (url, server):
        reader = threading.Thread(target=read, args=(url,))
        reader.start()
        assert begun.wait(10)
        server.should_exit = True
        reader.join(10)
    assert not server.worker._thread.is_alive()
    assert lines[-1] == {"error": "request broken off (server): it is shutting down; send the request again later"}


def test_an_address_that_is_in_use_or_unknown():
    with listening("127.0.0.1", 0) as first:
        first.connection.listen()
        port = first.connection.getsockname()[1]
        assert (first.url, first.is_local) == (f"http://127.0.0.1:{port}/", True)
        with pytest.raises(TinygradError, match=rf"^cannot serve \(127.0.0.1:{port}\): address already in use; stop "
                                                "the program that uses it, or give another --port$"), listening(
                                                    "127.0.0.1", port):
            pass
    with pytest.raises(UsageError, match=r"^cannot serve \(no\.such\.host\.invalid:1\): .*; give an address of this"), (
            listening("no.such.host.invalid", 1)):
        pass
    with pytest.raises(TinygradError, match=r"^cannot serve \(192\.0\.2\.1:0\): cannot assign requested address; "
                                            "give an address of this machine$"), listening("192.0.2.1", 0):
        pass


def test_other_machines_may_be_let_in():
    with listening("0.0.0.0", 0) as listener:
        assert not listener.is_local
