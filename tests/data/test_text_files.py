"""Bytes become the right text, or the place of the wrong byte is named."""

import codecs
import gzip
import io
import lzma
import os
import socket

import pytest

from tinygrad_gpt.data.text_files import read_text
from tinygrad_gpt.errors import DataError, UsageError

TEXT = "für € 😀\nzwei\n"


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (TEXT.encode(), "utf-8"), (TEXT.encode("utf-8-sig"), "utf-8"), (TEXT.encode("utf-8-sig"), "latin-1"),
        (b"\xff\xfe" + TEXT.encode("utf-16-le"), "utf-8"), (b"\xfe\xff" + TEXT.encode("utf-16-be"), "utf-8"),
        (TEXT.encode("utf-16-le"), "utf-16-le"), (TEXT.encode("utf-16-be"), "utf-16"), (TEXT.encode("utf-32"), "utf-8"),
        (codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"), "utf-8"), (TEXT.encode("utf-32-le"), "utf-32"),
    ],
)
def test_encodings(data, encoding):
    assert read_text(data, encoding)[0] == TEXT


def test_latin_1_is_an_option_and_means_cp1252():
    assert read_text("é".encode("latin-1"), "latin-1")[0] == "é"
    assert read_text(b"cold \x96 it\x92s \x800 \x93now\x94", "latin-1")[0] == "cold – it’s €0 “now”"


@pytest.mark.parametrize(("text", "given", "right"), [
    ("a,b\n" * 9, "utf-8", "utf-16-be"), ("für\n", "latin-1", "utf-8"), ("für\n", "shift-jis", "utf-8"),
    ("ham,cold – it’s\n", "iso-8859-15", "cp1252"), ("привет, как дела\n", "utf-8", "koi8-r"),
])
def test_a_wrong_encoding_is_refused_and_the_right_one_advised(text, given, right):
    with pytest.raises(DataError, match=f"is not .*; as {right} it reads '{text.split()[0]}"):
        read_text(text.encode(right), given)


def test_paths_bytes_streams_and_compressed_files(tmp_path):
    (tmp_path / "a.txt").write_bytes(TEXT.encode())
    (tmp_path / "a.txt.xz").write_bytes(lzma.compress(TEXT.encode()))
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(TEXT.encode()))
    for name in ("a.txt", "a.txt.xz", "a.txt.gz"):
        assert read_text(tmp_path / name) == (TEXT, str(tmp_path / name))
        assert read_text(str(tmp_path / name))[0] == TEXT
    assert read_text(TEXT.encode())[0] == TEXT
    assert read_text(io.BytesIO(TEXT.encode())) == (TEXT, "standard input")


def test_a_wrong_byte_is_named_by_line_and_column(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("ok\nüb caf".encode() + b"\xe9 x\n")
    with pytest.raises(DataError) as caught:
        read_text(path)
    assert str(caught.value) == (
        f"cannot read ({path}, line 2, column 7): byte 0xe9 is not utf-8; the rest of the text is; "
        "correct that byte")
    path.write_bytes("label,text\nham,cold – it’s €0 “now”\n".encode("cp1252"))
    with pytest.raises(DataError, match="as cp1252 it reads 'ham,cold – it’s €0 “now”'; convert the file to utf-8, or"):
        read_text(path)


@pytest.mark.parametrize("data", [b"\xff\xfea", b"\xff\xfe\x00\xd8", b"\xef\xbb\xbf\xff", b"\xc3"])
def test_broken_texts_of_every_encoding_are_refused(data):
    with pytest.raises(DataError, match=r"line 1, column [12]\)"):
        read_text(data)


@pytest.mark.parametrize("encoding", ["klingon", "hex", "a\0b", ""])
def test_unknown_encodings_are_refused(encoding):
    with pytest.raises(UsageError, match="no encoding"):
        read_text(b"abc", encoding)


def test_what_cannot_be_opened_is_one_line(tmp_path):
    (tmp_path / "a.xz").write_bytes(lzma.compress(os.urandom(1000))[:-50])
    (tmp_path / "b.gz").write_bytes(b"no gzip")
    (tmp_path / "c.gz").write_bytes(gzip.compress(os.urandom(1000))[:-50])
    for name, reason in [("a.xz", "damaged"), ("b.gz", "damaged"), ("c.gz", "damaged"),
                         ("absent", "no such file"), (".", "is a directory")]:
        with pytest.raises(DataError, match=reason) as caught:
            read_text(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="named pipes, devices and sockets have no path there")
def test_what_would_never_end_or_wait_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "s"))
        (tmp_path / "link").symlink_to("/dev/zero")
        for name, kind in [("pipe", "named pipe"), ("s", "socket"), ("/dev/zero", "device"), ("link", "device")]:
            with pytest.raises(DataError, match=f"it is a {kind}, not a regular file; give the path"):
                read_text(tmp_path / name)
