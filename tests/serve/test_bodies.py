"""Requests: what is read, and that everything else is refused in one line."""

import json

import pytest

pytest.importorskip("pydantic", reason="the extra 'serve' is not installed")
from tinygrad_gpt.errors import DataError
from tinygrad_gpt.serve import bodies
from tinygrad_gpt.serve.bodies import Chat, Classify, Generate, read

USER = {"role": "user", "content": "Hi"}
BAD = [  # kind, bytes, where the fault is, what it is
    (Classify, b"", "body", "invalid JSON: EOF"),
    (Classify, b"{", "body", "invalid JSON: EOF"),
    (Classify, b"texts=a", "body", "invalid JSON: expected"),
    (Classify, b"[]", "body", "input should be an object"),
    (Classify, b"{}", "texts", "field required"),
    (Classify, b'{"texts": "a"}', "texts", "input should be a valid array"),
    (Classify, b'{"texts": []}', "texts", "list should have at least 1 item"),
    (Classify, b'{"texts": ["a", 5]}', "texts.1", "input should be a valid string"),
    (Classify, b'{"texts": [null]}', "texts.0", "input should be a valid string"),
    (Classify, b'{"texts": ["a", " \\n"]}', "texts.1", "the text is empty"),
    (Classify, b'{"texts": ["a\\u0000"]}', "texts.0", "the text has a null character"),
    (Classify, b'{"texts": ["a\x00"]}', "body", "invalid JSON: control character"),
    (Classify, b'{"texts": ["\xff"]}', "body", "invalid JSON: invalid unicode"),
    (Classify, b'{"texts": ["\xed\xa0\x80"]}', "body", "invalid JSON: invalid unicode"),  # a surrogate as bytes
    (Classify, b'{"texts": ["\\ud800"]}', "body", "invalid JSON: unexpected end of hex escape"),
    (Classify, b'{"texts": ["\\udc00\\ud800"]}', "body", "invalid JSON: lone"),
    (Classify, '{"texts": ["a"]}'.encode("utf-16"), "body", "invalid JSON: expected"),
    (Classify, b'{"texts": ["a"], "explain": "yes"}', "explain", "input should be a valid boolean"),
    (Classify, b'{"texts": ["a"], "explain": 1}', "explain", "input should be a valid boolean"),
    (Classify, b'{"texts": ["a"], "model": ["x"]}', "model", "input should be a valid string"),
    (Classify, b'{"texts": ["a"], "label": "x"}', "label", "extra inputs are not permitted"),
    (Classify, b'{"texts": ["a"], "\\n\\u001b[31m": 1}', r"\n\x1b[31m", "extra inputs are not permitted"),
    (Classify, json.dumps({"texts": ["a"], "x" * 9999: 1}).encode(), "x" * 60, "extra inputs are not permitted"),
    (Classify, json.dumps({"texts": ["a"] * 257}).encode(), "texts", "list should have at most 256 items"),
    (Classify, json.dumps({"texts": ["a" * 100_001]}).encode(), "texts.0", "string should have at most 100000"),
    (Classify, b"[" * 100_000, "body", "invalid JSON: recursion limit"),
    (Classify, b'{"texts": ' * 100_000, "body", "invalid JSON: recursion limit"),
    (Generate, b'{"prompt": "a", "temperature": NaN}', "temperature", "input should be a finite number"),
    (Generate, b'{"prompt": "a", "temperature": Infinity}', "temperature", "input should be"),
    (Generate, b'{"prompt": "a", "temperature": 1e999}', "temperature", "input should be"),
    (Generate, b'{"prompt": "a", "temperature": -1}', "temperature", "input should be greater than or equal to 0"),
    (Generate, b'{"prompt": "a", "temperature": "1"}', "temperature", "input should be a valid number"),
    (Generate, b'{"prompt": "a", "top_p": 0}', "top_p", "input should be greater than 0"),
    (Generate, b'{"prompt": "a", "max_new_tokens": 0}', "max_new_tokens", "input should be greater than or equal"),
    (Generate, b'{"prompt": "a", "max_new_tokens": 4097}', "max_new_tokens", "input should be less than or equal"),
    (Generate, b'{"prompt": "a", "max_new_tokens": 2.0}', "max_new_tokens", "input should be a valid integer"),
    (Generate, b'{"prompt": "a", "max_new_tokens": true}', "max_new_tokens", "input should be a valid integer"),
    (Generate, b'{"prompt": "a", "seed": 1' + b"0" * 200_000 + b"}", "body", "invalid JSON: number out of range"),
    (Generate, b'{"prompt": "a", "seed": 1' + b"0" * 40 + b"}", "seed", "input should be less than or equal"),
    (Generate, b'{"prompt": "a", "top_k": 0}', "top_k", "input should be greater than or equal to 1"),
    (Generate, b"{}", "prompt", "field required"),
    (Generate, b'{"prompt": "a", "stop": "b"}', "stop", "input should be a valid array"),
    (Generate, b'{"prompt": "a", "stop": [""]}', "stop.0", "string should have at least 1 character"),
    (Generate, b'{"prompt": "a", "min_p": 1.1}', "min_p", "input should be less than or equal to 1"),
    (Generate, b'{"prompt": "a", "repetition_penalty": 0}', "repetition_penalty", "input should be greater than 0"),
    (Generate, b'{"prompt": "a"} {}', "body", "invalid JSON: trailing characters"),
    (Chat, b'{"messages": []}', "messages", "list should have at least 1 item"),
    (Chat, json.dumps({"messages": [USER] * 65}).encode(), "messages", "list should have at most 64 items"),
    (Chat, json.dumps({"messages": [USER, USER]}).encode(), "body", "the messages do not take turns from user to"),
    (Chat, json.dumps({"messages": [USER, {**USER, "role": "assistant"}]}).encode(), "body", "the messages do not"),
    (Chat, json.dumps({"messages": [{**USER, "role": "system"}]}).encode(), "messages.0.role", "input should be"),
    (Chat, json.dumps({"messages": [{**USER, "name": "x"}]}).encode(), "messages.0.name", "extra inputs are not"),
    (Chat, json.dumps({"messages": [{**USER, "content": ""}]}).encode(), "messages.0.content", "the text is empty"),
    (Chat, json.dumps({"messages": [USER], "style": "poem"}).encode(), "style", "input should be"),
]


@pytest.mark.parametrize(("kind", "body", "where", "why"), BAD, ids=[f"{n}-{where}" for n, (_, _, where, _) in
                                                                     enumerate(BAD)])
def test_what_is_wrong_is_said_in_one_line(kind, body, where, why):
    with pytest.raises(DataError) as caught:
        read(kind, body)
    line = str(caught.value)
    assert line.startswith(f"bad request ({where}): {why}")
    assert line.endswith("; the fields and their ranges are in /openapi.json")
    assert line.isprintable()
    assert len(line) <= 240


def test_a_request_has_defaults():
    assert read(Classify, b'{"texts": ["a"]}') == Classify(texts=["a"], model=None, explain=False)
    body = read(Generate, b'{"prompt": ""}')
    assert (body.max_new_tokens, body.temperature, body.top_k, body.top_p, body.seed, body.stream) == (
        200, 0.8, None, 0.95, 0, False)
    assert read(Chat, json.dumps({"messages": [USER, {**USER, "role": "assistant"}, USER]}).encode()).style is None


def test_texts_are_taken_as_they_are():
    text = "Grüße 🙂 \u202e \x7f <b>&amp;</b>\t\r\n مرحبا \ufffe"
    assert read(Classify, json.dumps({"texts": [text]}).encode()).texts == [text]
    assert read(Classify, json.dumps({"texts": [text]}, ensure_ascii=False).encode()).texts == [text]
    assert read(Generate, b'{"prompt": "a", "temperature": 1, "max_new_tokens": 4096}').temperature == 1.0


def test_every_kind_is_described():
    assert all(getattr(bodies, name).__doc__ for name in bodies.__all__)
