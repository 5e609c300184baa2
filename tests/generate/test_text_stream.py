"""Tokens to text: characters across tokens, stop strings across tokens, nothing of either shown early."""

import itertools

import pytest

from tinygrad_gpt.generate.text_stream import TextStream
from tinygrad_gpt.text import Tokenizer

BYTES = Tokenizer([bytes([i]) for i in range(256)])
TEXT = "Ein Käse für 5 €. 日本 \U0001f9c0 Ende\nZeile"


def ids_of(text):
    return list(text.encode())


def run(pieces, stop=(), tokenizer=None):
    """The text shown, the pieces, and whether it stopped; `pieces` are the byte strings of the tokens."""
    pieces = [piece.encode() if isinstance(piece, str) else piece for piece in pieces]
    vocabulary = list(dict.fromkeys([*BYTES.tokens, *pieces]))
    stream, shown = TextStream(Tokenizer(vocabulary), stop), []
    for piece in pieces:
        shown.append(stream.push(vocabulary.index(piece)))
        if stream.stopped:
            break
    shown.append(stream.finish())
    assert "".join(shown) == stream.text
    return stream.text, shown, stream.stopped


def cuts(data, n):
    """Every way to cut bytes into n pieces, none empty."""
    for borders in itertools.combinations(range(1, len(data)), n - 1):
        yield [data[a:b] for a, b in zip([0, *borders], [*borders, len(data)], strict=True)]


def test_characters_are_shown_when_they_are_complete():
    stream = TextStream(BYTES)
    shown = [stream.push(i) for i in ids_of(TEXT)]
    assert [piece for piece in shown if piece] == list(TEXT)
    assert [i for i, piece in enumerate(shown) if piece] == [len(TEXT[:n + 1].encode()) - 1 for n in range(len(TEXT))]
    assert (stream.finish(), stream.text, stream.stopped) == ("", TEXT, False)


def test_the_text_is_what_the_tokenizer_decodes_in_one_go():
    ids = [0xff, *ids_of("a€"), 0xe2, 0x82, *ids_of("b"), 0xc3, 0xf0, 0x9f, 0xa7]
    stream = TextStream(BYTES)
    text = "".join(stream.push(i) for i in ids) + stream.finish()
    assert text == BYTES.decode(ids) == "\ufffda€\ufffdb\ufffd\ufffd"


@pytest.mark.parametrize("stop", ["Käse", "ä", "€", "\U0001f9c0", "日本 ", "E", "\n", "Zeile", TEXT])
def test_the_text_ends_before_a_stop_string(stop):
    stream, text = TextStream(BYTES, [stop]), ""
    for i in ids_of(TEXT):
        text += stream.push(i)
        assert TEXT[:TEXT.index(stop)].startswith(text)  # nothing of it is ever shown
        if stream.stopped:
            break
    assert stream.stopped
    assert text == TEXT[:TEXT.index(stop)]
    assert stream.finish() == ""


@pytest.mark.parametrize("stop", ["€u", "aab", "b€", "x"])
def test_wherever_the_borders_between_tokens_lie(stop):
    data = "aaab€ux".encode()
    for n in range(1, 6):
        for pieces in cuts(data, n):
            assert run(pieces, [stop])[0] == "aaab€ux"[:"aaab€ux".index(stop)]


@pytest.mark.parametrize(("stop", "text"), [
    (["ab", "xaby"], "x"), (["xaby", "ab"], "x"), (["b", "ab"], "x"), (["aby", "by"], "x"), (["nothing"], "xabyz")])
def test_of_two_stop_strings_the_one_that_is_complete_first(stop, text):
    for n in range(1, 6):
        for pieces in cuts(b"xabyz", n):
            assert run(pieces, stop)[0] == text


def test_only_what_may_begin_a_stop_string_waits():
    text, shown, stopped = run(["a", "st", "o", "ne", " sto", "p", "!"], ["stop"])
    assert (text, stopped) == ("astone ", True)
    assert shown == ["a", "", "", "stone", " ", "", ""]
    text, shown, stopped = run(["aa", "a", "ab"], ["aaab"])
    assert (text, stopped) == ("a", True)
    assert shown == ["", "", "a", ""]


def test_what_waited_is_shown_when_the_text_ends():
    assert run(["a", "st"], ["stop"]) == ("ast", ["a", "", "st"], False)
    assert run(["st", b"\xe2\x82"], ["stop"]) == ("st\ufffd", ["", "", "st\ufffd"], False)


def test_the_end_of_text_token_is_not_the_streams_business():
    assert TextStream(BYTES).push(BYTES.eot_id) == "<|endoftext|>"  # `decode` does not push it
