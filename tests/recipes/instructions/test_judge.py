"""The judge behind an address, on the loopback; and the scores of a model's responses."""

import contextlib
import gzip
import http.server
import json
import math
import threading
import time

import numpy as np
import pytest
import tiny

from tinygrad_gpt import no_grad, ops
from tinygrad_gpt.data.instructions import Instruction
from tinygrad_gpt.data.prompt_styles import STYLES
from tinygrad_gpt.errors import DataError, TinygradError, UsageError
from tinygrad_gpt.recipes.instructions import judge
from tinygrad_gpt.recipes.instructions.evaluate import evaluate_instructions, read_part
from tinygrad_gpt.recipes.instructions.judge import Judge, parse_score

DRIP = "drip"
ENTRY = Instruction("Add the numbers.", "1, 2", "3")


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with what stands next in `server.plan`: a text of the judge, or a status, or raw bytes."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers.get("Authorization"), body))
        what = self.server.plan.pop(0)
        message = {"role": "assistant", "content": what}
        content = {"message": message} if self.path == "/api/chat" else {"choices": [{"message": message}]}
        data = what if isinstance(what, bytes) else json.dumps(content).encode()
        self.send_response(what if isinstance(what, int) else 200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Location", "/elsewhere")
        if data[:2] == b"\x1f\x8b":
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        if what == DRIP:
            for byte in data[:40]:
                self.wfile.write(bytes([byte]))
                time.sleep(0.05)
        with contextlib.suppress(OSError):  # the judge may have had enough
            self.wfile.write(data)

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def judging(*plan):
    """A server and its address; it notes in `asked` what it was asked."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.plan, server.asked, server.daemon_threads = list(plan), [], True
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.mark.parametrize(("reply", "score"), [
    ("85", 85), (" 0\n", 0), ("100", 100), ("Score: 85.", 85), ("**85**/100", 85), ("85 out of 100", 85),
    ("<think>50? 60?</think>\n70", 70), ("I would not say.", None), ("", None), ("101", None), ("-5", None),
    ("85.5", None), ("85, or 90", None), ("1,000", None), ("٣", None), ("9" * 5000, None)])
def test_a_score_is_one_whole_number(reply, score):
    assert parse_score(reply) == score


@pytest.mark.parametrize(("path", "endpoint"), [
    ("/v1", "/v1/chat/completions"), ("/v1/chat/completions/", "/v1/chat/completions"), ("/api", "/api/chat"),
    ("/api/chat", "/api/chat")])
def test_the_question(path, endpoint):
    with judging("85") as server:
        verdict = Judge(server.url + path, "wise", "secret").ask(ENTRY, "It is 4.")
    assert (verdict.score, verdict.reply, verdict.answered) == (85, "85", True)
    (asked, key, body), = server.asked
    assert (asked, key, body["model"]) == (endpoint, "Bearer secret", "wise")
    question = body["messages"][0]["content"]
    assert all(part in question for part in ("Add the numbers.\n\n1, 2\n", "\n3\n", "\nIt is 4.\n", "0", "100"))
    assert (body["options"]["temperature"] if endpoint == "/api/chat" else body["temperature"]) == 0


@pytest.mark.parametrize(("what", "why"), [
    (500, "the server says 500"), (429, "the server says 429"), (302, "the server says 302"),
    (b"<html>", "the server's reply is not JSON"), (b"{}", "the server's reply has no message"),
    (b'{"choices": []}', "has no message"), (b"[]", "has no message")])
def test_a_server_that_fails_gives_no_reply(what, why):
    with judging(what) as server:
        verdict = Judge(server.url + "/v1", "wise").ask(ENTRY, "It is 4.")
    assert (verdict.score, verdict.answered) == (None, False)
    assert why in verdict.reply
    assert len(server.asked) == 1  # and a redirection is not followed: it would take the key elsewhere
    assert Judge(server.url, "wise").ask(ENTRY, "x").reply == "the server cannot be reached"


def test_a_refusal_is_a_reply_without_a_score():
    body = json.dumps({"choices": [{"message": {"content": None, "refusal": "I can not."}}]}).encode()
    with judging(body) as server:
        verdict = Judge(server.url, "wise").ask(ENTRY, "x")
    assert (verdict.score, verdict.reply, verdict.answered) == (None, "I can not.", True)


@pytest.mark.parametrize(("what", "why"), [
    (b" " * 2**21, "larger than 1024 KiB"), (gzip.compress(b" " * 2**26, mtime=0), "larger than 1024 KiB"),
    (b"[" * 100_000, "not JSON"), (b"9" * 100_000, "not JSON"), (DRIP, "the server does not reply")])
def test_a_reply_has_limits(what, why, monkeypatch):
    monkeypatch.setattr(judge, "TIMEOUT", (1.0, 0.5))
    with judging(what) as server:
        assert why in Judge(server.url, "wise").ask(ENTRY, "x").reply


def test_a_score_is_found_in_linear_time():
    assert parse_score("<think>" * 200_000 + "80") == 80
    assert parse_score("<think>1</think>" * 50_000 + "80") == 80
    assert parse_score("<think>" * 50_000 + "1</think>80<think>") == 80


@pytest.mark.parametrize("url", [
    "http://[::1", "http://x:port", "http://x:99999999", "http://x:-1", "http://me:secret@", "http:///x",
    "http://me:secret@h:x/?key=secret"])
def test_a_malformed_address_is_refused_without_its_secrets(url):
    with pytest.raises(UsageError, match="expected an address such as") as caught:
        Judge(url, "wise")
    assert "secret" not in str(caught.value)


def test_an_address_of_version_6_is_taken():
    assert Judge("http://[::1]:11434/api", "wise")._endpoint == "http://[::1]:11434/api/chat"


def test_a_judge_has_a_model():
    with pytest.raises(UsageError, match="judge_model is ''"):
        Judge("http://localhost", "")


@pytest.mark.parametrize("url", ["", "localhost", "ftp://x", "http://", "file:///etc/passwd"])
def test_an_address_is_wanted(url):
    with pytest.raises(UsageError, match=f"judge is '{url}', expected an address"):
        Judge(url, "wise")


@pytest.fixture(scope="module")
def saved():
    return tiny.language_model(n_ctx=96)


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_responses_are_written_and_scored(saved, tmp_path):
    entries, told = [Instruction(f"Say {i}", "", "ski") for i in range(18)], []
    report = evaluate_instructions(saved, entries, STYLES["phi3"], tmp_path / "out.jsonl", max_new_tokens=4,
                                   report=lambda *now: told.append(now))
    lines = lines_of(tmp_path / "out.jsonl")
    assert [line["instruction"] for line in lines] == [entry.instruction for entry in entries]
    assert all(line["verdict"] is None for line in lines)
    assert (report.count, report.unfinished, report.judged, report.scored) == (
        18, sum(line["stopped_by"] == "max_new_tokens" for line in lines), None, 0)
    for name in ("exact_match", "rouge_l", "token_f1"):
        assert getattr(report, name) == pytest.approx(sum(line[name] for line in lines) / 18)
    assert told == [(16, 18), (18, 18)]
    assert report.bits_per_byte == pytest.approx(bits(saved, entries) / 54)
    assert report.repeating == {"exact_match": 0, "rouge_l": 0, "token_f1": 0}
    alone = evaluate_instructions(saved, [Instruction("Say 3", "", lines[3]["response"])], STYLES["phi3"],
                                  tmp_path / "one.jsonl", max_new_tokens=4)
    assert (alone.exact_match, alone.token_f1) == (1, 1)
    given = [Instruction("Repeat the word.", "ski", "ski"), Instruction("Say snow", "", "snow")]
    repeating = evaluate_instructions(saved, given, STYLES["phi3"], tmp_path / "two.jsonl", max_new_tokens=1).repeating
    assert repeating == {"exact_match": 0.5, "rouge_l": pytest.approx((1 + 2 / 3) / 2),
                         "token_f1": pytest.approx((1 + 2 / 3) / 2)}


def bits(saved, entries):
    """What the outputs and their ends cost, entry by entry, from the logits of the whole text."""
    total = 0.0
    for entry in entries:
        prompt, output = (saved.tokenizer.encode(text) for text in (
            STYLES["phi3"].prompt([entry.instruction]), entry.output + STYLES["phi3"].end))
        ids = [*prompt, *output, saved.tokenizer.eot_id]
        with no_grad():
            scores = ops.log_softmax(saved.model(np.array([ids[:-1]]))).numpy()[0]
        total -= sum(scores[i - 1, ids[i]] for i in range(len(prompt), len(ids)))
    return total / math.log(2)


def test_outputs_that_cannot_be_read_whole_are_not_foreseen(saved, tmp_path):
    known = [Instruction("Say it", "", "ski"), Instruction("Say it", "", "ski " * 90),
             Instruction("ice " * 99, "", "a")]
    report = evaluate_instructions(saved, known, STYLES["phi3"], tmp_path / "out.jsonl", max_new_tokens=1)
    assert report.bits_per_byte == pytest.approx(bits(saved, known[:1]) / 3)
    report = evaluate_instructions(saved, known[1:], STYLES["phi3"], tmp_path / "out.jsonl", max_new_tokens=1)
    assert report.bits_per_byte is None


def test_every_verdict_is_counted(saved, tmp_path):
    entries = [Instruction(f"Say {i}", "", "ski") for i in range(5)]
    with judging("80", "no", 500, "61", "90 or 91") as server:
        report = evaluate_instructions(saved, entries, STYLES["phi3"], tmp_path / "out.jsonl", max_new_tokens=2,
                                       judge=Judge(server.url, "wise"))
    assert (report.judged, report.scored, report.without_number, report.without_reply) == (70.5, 2, 2, 1)
    assert [line["verdict"]["score"] for line in lines_of(tmp_path / "out.jsonl")] == [80, None, None, 61, None]


def test_without_a_first_reply_the_responses_are_kept(saved, tmp_path):
    with judging(401) as server, pytest.raises(TinygradError, match=r"cannot ask the judge .*: the server says 401"):
        evaluate_instructions(saved, [ENTRY], STYLES["phi3"], tmp_path / "out.jsonl", max_new_tokens=2,
                              judge=Judge(server.url, "wise"))
    assert lines_of(tmp_path / "out.jsonl")[0]["instruction"] == "Add the numbers."


def test_a_folder_that_is_not_there_is_missed_before_the_work(saved, tmp_path):
    def report(done, total):
        raise AssertionError

    with pytest.raises(TinygradError, match=r"^cannot write \(.*a.jsonl\): its folder does not exist; make it"):
        evaluate_instructions(saved, [ENTRY], STYLES["phi3"], tmp_path / "absent" / "a.jsonl", report=report)


def test_parts(tmp_path):
    path = tiny.instruction_file(tmp_path / "a.json")
    parts = {name: read_part(path, name) for name in ("all", "train", "test", "validation")}
    assert [len(part) for part in parts.values()] == [20, 17, 2, 1]
    assert parts["all"] == parts["train"] + parts["test"] + parts["validation"]
    with pytest.raises(DataError, match="too few entries"):
        read_part(tiny.instruction_file(tmp_path / "b.json", 9), "test")
