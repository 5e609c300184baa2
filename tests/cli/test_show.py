"""Columns, notes and shortened lines (the report: test_evaluate.py)."""

from types import SimpleNamespace

import pytest

from tinygrad_gpt.backend import on_backend
from tinygrad_gpt.cli.show import columns, note, note_half_precision, note_special, shortened
from tinygrad_gpt.text import Tokenizer
from tinygrad_gpt.text.layout import Layout

WIDE = "\u65e5\u672c\u8a9e\u6587\u5b57"  # characters of two columns each


def test_special_tokens_that_were_read_as_text_are_noted(capsys):
    tokenizer = Tokenizer.train(["a"], 257)
    note_special(tokenizer, ["a", "<|endoftext"])
    assert capsys.readouterr().err == ""
    note_special(tokenizer, ["a<|endoftext|>", "<|endoftext|>"], "use --allow-special")
    assert capsys.readouterr().err == ("<|endoftext|> in the text: read as text, not as special tokens; use "
                                       "--allow-special\n")
    many = Layout(tokenizer.layout.ids, {f"<|{i}|>": 256 + i for i in range(6)}, 256, (256,))
    note_special(Tokenizer(tokenizer.tokens, many), ["".join(many.special)])
    assert capsys.readouterr().err == ("<|0|>, <|1|>, <|2|> and 3 others in the text: read as text, not as special "
                                       "tokens\n")


def test_columns_stand_below_each_other():
    assert columns([("class", "F1"), ("a", "0.25"), (WIDE[:2], "1")]) == ["class    F1", "a      0.25",
                                                                          f"{WIDE[:2]}      1"]
    assert columns([("a\nb\x1b", "c")]) == ["a b\\x1b  c"]


@pytest.mark.parametrize(("width", "text", "expected"), [
    (10, "abcdefgh", "> abcdefgh"), (10, "abcdefghi", "> abcdefg\u2026"), (10, WIDE[:4], f"> {WIDE[:4]}"),
    (10, WIDE, f"> {WIDE[:3]}\u2026"), (10, "e\u0301" * 8, "> " + "e\u0301" * 8),
    (10, "", "> "), (2, "abc", "> \u2026"), (1, "abc", "> \u2026"), (10, "a\nb", "> a b"),
])
def test_a_line_is_no_wider_than_the_terminal(width, text, expected, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    assert shortened("> ", text) == expected


def test_a_pipe_gets_the_whole_text(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("sys.__stdout__", None)
    assert shortened("> ", "word " * 1000 + "end") == "> " + "word " * 1000 + "end"


def test_a_note_and_its_line_feed_are_one_write(monkeypatch):
    written = []
    monkeypatch.setattr("sys.stderr", SimpleNamespace(write=written.append, flush=lambda: None))
    note("a\nb")
    assert [text for text in written if text] == ["a b\n"]


@pytest.mark.parametrize(("precision", "device", "lines"), [
    ("float32", "numpy", 0), ("tf32", "numpy", 0), ("bfloat16", "numpy", 1), ("float16", "numpy", 1),
    ("bfloat16", "strict", 0)])
def test_half_precision_without_a_gpu_is_noted_in_one_line(precision, device, lines, capsys):
    with on_backend(device):
        note_half_precision(precision)
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", lines)
    assert lines == err.count(f"--precision {precision}: NumPy computes it as a GPU would, but slower than float32")
