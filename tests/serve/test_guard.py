"""Whom the server talks to, what a browser may do with its page, and that no traceback leaves it."""

import logging

import pytest

pytest.importorskip("starlette", reason="the extra 'serve' is not installed")
from tinygrad_gpt.serve.guard import HEADERS, host_name, is_trusted


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:8000", "[::1]",
                                  "192.168.1.5:80", "mine.local:8000", "localhost."])
def test_addresses_and_own_names_are_trusted(host):
    assert is_trusted(host, {"mine.local"})


@pytest.mark.parametrize("host", ["", "evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.nip.io",
                                  "[evil.example]", "127.0.0.1@evil.example", "mine.local.evil.example", ":8000", "["])
def test_other_names_are_not(host):
    assert not is_trusted(host, {"mine.local"})


def test_a_name_is_taken_out_of_a_host():
    assert [host_name(host) for host in ("A.b:1", "[::1]:8000", "x")] == ["a.b", "::1", "x"]


@pytest.mark.parametrize("path", ["/", "/health", "/api/models", "/nowhere", "/page.js"])
def test_a_foreign_host_gets_nothing(client, path):
    answer = client.get(path, headers={"host": "evil.example:8000"})
    assert answer.status_code == 421
    assert answer.json() == {"error": "wrong host (evil.example:8000): this server is not known by that name; use its "
                                      "address, or start it with --allow-host NAME"}


@pytest.mark.parametrize(("origin", "status"), [
    ("http://127.0.0.1:8000", 200), ("https://127.0.0.1:8000", 200), ("http://127.0.0.1:8001", 403),
    ("http://evil.example", 403), ("null", 403), ("", 403), ("http://127.0.0.1:8000.evil.example", 403),
])
def test_only_its_own_page_may_post(client, origin, status):
    assert client.post("/api/classify", json={"texts": ["ice"]}, headers={"origin": origin}).status_code == status


def test_other_sites_are_told_nothing(client):
    preflight = client.options("/api/classify", headers={
        "origin": "http://evil.example", "access-control-request-method": "POST"})
    assert preflight.status_code == 403
    read = client.get("/api/models", headers={"origin": "http://evil.example"})
    for answer in (preflight, read, client.options("/api/classify")):
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/", "/page.js", "/api/models", "/nowhere", "/openapi.json"])
def test_every_answer_has_the_headers(client, path):
    answer = client.get(path)
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert "unsafe" not in answer.headers["content-security-policy"]


def test_what_was_not_foreseen_is_one_line_without_a_traceback(client, worker, monkeypatch, caplog):
    def fails(*arguments):
        raise ZeroDivisionError("secret /home/me/file.py")

    monkeypatch.setattr(worker, "classify", fails)
    with caplog.at_level(logging.ERROR, "tinygrad_gpt.serve"):
        answer = client.post("/api/classify", json={"texts": ["ice"]})
    assert (answer.status_code, answer.json()) == (500, {
        "error": "cannot answer (server): an error that was not foreseen; the server's log has more about it"})
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert caplog.records[0].getMessage() == "POST /api/classify"
    assert isinstance(caplog.records[0].exc_info[1], ZeroDivisionError)
