"""The API: answers, limits, and whatever else may be sent."""

import asyncio
import json
import logging
import threading
import time

import pytest

pytest.importorskip("starlette", reason="the extra 'serve' is not installed")
pytest.importorskip("httpx2", reason="the test client needs it")
from starlette.testclient import TestClient

from tinygrad_gpt.recipes.classification.classify import classify
from tinygrad_gpt.serve.app import Limits, make_app
from tinygrad_gpt.serve.tasks import explanations
from tinygrad_gpt.serve.worker import Worker

TEXTS = ["ice ski", "loop bug", "sand heat"]
USER = {"role": "user", "content": "bug"}
ROUTES = {"/api/classify": {"texts": TEXTS}, "/api/generate": {"prompt": "bug"}, "/api/chat": {"messages": [USER]}}


@pytest.fixture
def limited(models, worker):
    """A test client whose limits are small."""
    limits = Limits(body=1000, upload=0.05, seconds=0.3)
    return TestClient(make_app(models, worker, limits), base_url="http://127.0.0.1:8000")


def lines(answer):
    return [json.loads(line) for line in answer.text.splitlines()]


def test_texts_are_labelled_in_their_order(client, saved):
    answer = client.post("/api/classify", json={"texts": TEXTS})
    assert answer.status_code == 200
    expected = classify(saved["words"], TEXTS)
    told = answer.json()
    assert told["model"] == "words"
    assert [one["label"] for one in told["answers"]] == [one.label for one in expected]
    assert [one["probabilities"] for one in told["answers"]] == [pytest.approx(one.probabilities, rel=1e-5)
                                                                 for one in expected]
    assert [one["explanation"] for one in told["answers"]] == [None] * 3


def test_reasons_come_with_the_labels(client, saved):
    told = client.post("/api/classify", json={"texts": TEXTS, "explain": True}).json()["answers"]
    expected = explanations(saved["words"], classify(saved["words"], TEXTS))
    assert [one["explanation"]["words"] for one in told] == [
        [{"text": word.text, "weight": pytest.approx(word.weight, rel=1e-3, abs=1e-4)} for word in why.words]
        for why in expected]


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
def test_a_stream_adds_up_to_the_whole(client, path):
    body = {**ROUTES[path], "max_new_tokens": 12}
    whole = client.post(path, json=body).json()
    streamed = client.post(path, json={**body, "stream": True})
    assert streamed.headers["content-type"] == "application/x-ndjson"
    pieces = lines(streamed)
    assert len(pieces) == 12
    assert all(set(piece) == {"text"} for piece in pieces[:-1])
    assert {**pieces[-1], "text": "".join(piece["text"] for piece in pieces)} == {
        name: value for name, value in whole.items() if value is not None}
    assert (whole["model"], whole["tokens"], whole["stopped_by"]) == ("story", 12, "max_new_tokens")


def test_models_and_health(client, saved):
    assert client.get("/api/models").json()["models"][0] == {
        "name": "words", "tasks": ["classify"], "labels": ["code", "snow", "sun"], "context": 16,
        "parameters": saved["words"].model.summary().size, "style": None}
    assert client.get("/health").json() == {"status": "ok", "texts_waiting": 0, "jobs_waiting": 0, "jobs_running": 0}


def test_the_page_and_its_files(client):
    for path, kind, part in (("/", "text/html", "<title>tinygrad_gpt"), ("/page.css", "text/css", ":root"),
                             ("/page.js", "text/javascript", "textContent")):
        answer = client.get(path)
        assert answer.headers["content-type"].startswith(kind)
        assert part in answer.text
    source = client.get("/page.js").text
    assert not [word for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(")
                if word in source]
    assert "http" not in client.get("/").text + client.get("/page.css").text  # it works offline


# -- what is refused


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("body", [
    b"", b"{", b"[]", b"null", b"[" * 100_000, b'{"x": NaN}', b"\xff\xfe", b'{"a": "\\ud800"}', b"1" + b"0" * 100_000,
    b"\0" * 100, b'{"prompt": "a", "texts": ["a"], "messages": []}',
], ids=lambda body: repr(body[:12]))
def test_bad_bodies_are_refused_in_one_line(client, path, body):
    answer = client.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    line = answer.json()["error"]
    assert line.startswith("bad request (")
    assert line.isprintable()
    assert len(line) <= 240


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded",
                                  "multipart/form-data; boundary=x", "application/jsonx"])
def test_other_types_of_content_are_refused(client, kind):
    answer = client.post("/api/classify", content=b'{"texts": ["a"]}', headers={"content-type": kind})
    assert answer.status_code == 415
    assert answer.json()["error"].startswith("bad request (content-type): it is '")


def test_json_may_name_its_encoding(client):
    answer = client.post("/api/classify", content=b'{"texts": ["a"]}',
                         headers={"content-type": "Application/JSON; charset=utf-8"})
    assert answer.status_code == 200


@pytest.mark.parametrize(("method", "path", "status", "start"), [
    ("GET", "/nowhere", 404, "no such page (address): "), ("GET", "/../etc/passwd", 404, "no such page (address): "),
    ("GET", "/page/index.html", 404, "no such page (address): "), ("GET", "/api/chat", 405, "wrong method (address): "),
    ("DELETE", "/", 405, "wrong method (address): "), ("PUT", "/api/chat", 405, "wrong method (address): "),
])
def test_addresses_that_are_not_there(client, method, path, status, start):
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"].startswith(start)


def test_a_model_that_is_not_served(client):
    answer = client.post("/api/generate", json={"prompt": "a", "model": "gpt-5"})
    assert (answer.status_code, answer.json()["error"]) == (
        404, "cannot generate (model): 'gpt-5' is not served; choose one of story")


@pytest.mark.parametrize("chunked", [False, True])
def test_too_much_is_refused(limited, chunked):
    body = json.dumps({"texts": ["a" * 2000]}).encode()
    content = iter([body[:500], body[500:]]) if chunked else body
    answer = limited.post("/api/classify", content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]) == (
        413, "bad request (body): it is longer than 1,000 bytes; send less at once")


def slow_steps(seconds):
    def steps(*arguments):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.01)
        yield from ()
    return steps


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_takes_too_long(limited, monkeypatch, stream):
    monkeypatch.setattr("tinygrad_gpt.serve.app.continuation", slow_steps(1))
    answer = limited.post("/api/generate", json={"prompt": "a", "stream": stream})
    assert answer.status_code == 504
    assert answer.json()["error"].startswith("no answer in time (server): it took longer than 0.3 seconds; ")


def test_a_stream_that_takes_too_long_says_so_in_its_last_line(limited):
    pieces = lines(limited.post("/api/generate", json={"prompt": "a", "stream": True, "max_new_tokens": 4096}))
    assert len(pieces) > 1
    assert pieces[-1]["stopped_by"] == "time limit"
    assert pieces[-1]["tokens"] == len(pieces) - 1


def test_too_many_requests(models):
    worker, held = Worker(texts=2, jobs=0), threading.Event()
    client = TestClient(make_app(models, worker), base_url="http://127.0.0.1:8000")
    for path, body in ROUTES.items():
        answer = client.post(path, json=body)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["error"].startswith("too many ")
    held.set()
    worker.close()
    answer = client.post("/api/classify", json={"texts": ["a"]})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["error"].startswith("cannot compute (server): it is shutting down")
    assert worker.join(10)


def test_a_failure_in_a_stream_is_its_last_line(client, monkeypatch, caplog):
    def steps(*arguments):
        from tinygrad_gpt.serve.bodies import Written

        yield Written(text="a")
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("tinygrad_gpt.serve.app.continuation", steps)
    with caplog.at_level(logging.CRITICAL, "tinygrad_gpt.serve"):
        pieces = lines(client.post("/api/generate", json={"prompt": "a", "stream": True}))
    assert pieces[0] == {"text": "a"}
    assert pieces[1]["error"].startswith("cannot answer (server): an error that was not foreseen")
    assert len(pieces) == 2


def test_no_memory_is_no_bug(client, monkeypatch):
    def steps(*arguments):
        raise MemoryError
        yield

    monkeypatch.setattr("tinygrad_gpt.serve.app.continuation", steps)
    answer = client.post("/api/generate", json={"prompt": "a"})
    assert answer.status_code == 503
    assert answer.json()["error"].startswith("not enough memory (server): ")


# -- clients that leave


def leaving(app, path, body, after):
    """Send a request and leave after so many messages of the answer; returns the messages."""
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
             "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")], "http_version": "1.1",
             "asgi": {"version": "3.0", "spec_version": "2.3"}, "scheme": "http", "server": ("127.0.0.1", 80)}
    sent = []

    async def run():
        gone, asked = asyncio.Event(), iter([{"type": "http.request", "body": json.dumps(body).encode()}])

        async def receive():
            for message in asked:
                return message
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)
            if len(sent) >= after:
                gone.set()

        if not after:
            asyncio.get_running_loop().call_later(0.05, gone.set)
        await asyncio.wait_for(app(scope, receive, send), 10)

    asyncio.run(run())
    return sent


@pytest.mark.parametrize(("stream", "after"), [(True, 3), (False, 0)])
def test_a_client_that_leaves_ends_its_generation(client, worker, monkeypatch, stream, after):
    from tinygrad_gpt.serve.bodies import Written

    closed = threading.Event()

    def steps(*arguments):
        try:
            while True:
                time.sleep(0.001)
                yield Written(text="a")
        finally:
            closed.set()

    monkeypatch.setattr("tinygrad_gpt.serve.app.continuation", steps)
    leaving(client.app, "/api/generate", {"prompt": "a", "stream": stream}, after)
    assert closed.wait(10)


def test_a_request_that_does_not_arrive(limited):
    async def run():
        sent = []

        async def receive():
            await asyncio.sleep(5)

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/api/classify", "query_string": b"", "http_version": "1.1",
                 "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")], "scheme": "http"}
        await asyncio.wait_for(limited.app(scope, receive, send), 4)
        return sent

    sent = asyncio.run(run())
    assert sent[0]["status"] == 408
    assert b"it did not arrive within 0.05 seconds" in sent[1]["body"]
