"""Compressed files are decompressed within limits, and what is no text is refused by name."""

import bz2
import gzip
import io
import lzma
import os
import zipfile
from collections import namedtuple

import pytest

from tinygrad_gpt.data import compressed
from tinygrad_gpt.data.compressed import open_bytes, plain_name
from tinygrad_gpt.data.text_files import read_text
from tinygrad_gpt.errors import DataError, ResourceError


def zipped(data=b"text", *names, flag=0):
    """An archive with the same bytes under each name."""
    image = io.BytesIO()
    with zipfile.ZipFile(image, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names or ["a.txt"]:
            archive.writestr(name, data)
    found = bytearray(image.getvalue())
    for place in [i for i in range(len(found)) if found[i:i + 4] == b"PK\1\2"]:
        found[place + 8] |= flag
    return bytes(found)


@pytest.mark.parametrize(("ending", "compress"), [
    (".gz", gzip.compress), (".xz", lzma.compress), (".bz2", bz2.compress), (".zip", zipped), (".GZ", gzip.compress)])
def test_what_is_compressed_is_read(ending, compress, tmp_path):
    (tmp_path / f"a.txt{ending}").write_bytes(compress("für\n".encode() * 1000))
    assert read_text(tmp_path / f"a.txt{ending}")[0] == "für\n" * 1000
    assert plain_name(tmp_path / f"a.txt{ending}") == str(tmp_path / "a.txt")


def test_an_archive_of_one_file_is_that_file(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped(b"x", "deep/sms.tsv", "__MACOSX/._sms.tsv", ".DS_Store"))
    assert plain_name(tmp_path / "a.zip") == "deep/sms.tsv"
    with open_bytes(tmp_path / "a.zip") as opened:
        assert b"".join(opened.pieces()) == b"x"


@pytest.mark.parametrize(("name", "data", "why"), [
    ("a.zip", zipped(b"x", "a.csv", "b.csv"), "it holds 2 files; give an archive of one file"),
    ("a.csv.zip", zipped(b"x", "a.csv", flag=1), "it is encrypted"),
    ("a.csv.zip", b"PK\3\4", "is not a zip file; the compressed file is damaged"),
    ("a.csv.zip", zipped(os.urandom(999))[:-300], "the compressed file is damaged"),
    ("a.csv.bz2", b"no bzip2", "the compressed file is damaged"),
    ("a.csv.bz2", bz2.compress(os.urandom(999))[:-30], "the compressed file is damaged"),
    ("a.csv.zst", b"", "Zstandard is not read; decompress it, or use .gz, .xz, .bz2 or .zip"),
    ("a.csv.7z", b"", "7-Zip is not read"), ("a.tar", b"", "tar is not read"),
    ("a.csv", gzip.compress(b"x", mtime=0), "it is compressed with gzip; add .gz to its name"),
    ("a.csv", bz2.compress(b"x"), "it is compressed with bzip2"), ("a.csv", lzma.compress(b"x"), "with xz"),
    ("a.csv", zipped(), "it is a zip archive, an Excel or a Word file"),
    ("a.csv", b"\x28\xb5\x2f\xfdxx", "decompress it with: zstd -d"), ("a.csv", b"PAR1xx", "it is a Parquet file"),
    ("a.csv", b"\xd0\xcf\x11\xe0xx", "an old or an encrypted file of Excel"), ("a.txt", b"%PDF-1.7", "it is a PDF"),
    ("a.txt", b"SQLite format 3\0", "it is a database"),
])
def test_what_cannot_be_read_is_refused_with_its_kind(name, data, why, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=r"cannot read \(") as refused:
        read_text(tmp_path / name)
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_share_of_a_file_that_is_read(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"x" * 2**18)
    with open_bytes(tmp_path / "a.txt") as opened:
        shares = [opened.share() for _ in opened.pieces()]
    assert shares == [0.25, 0.5, 0.75, 1.0]
    with open_bytes(io.BytesIO(b"x")) as opened:
        assert opened.share() is None


@pytest.mark.parametrize(("name", "compress"), [
    ("a.txt.gz", gzip.compress), ("a.txt.xz", lzma.compress), ("a.txt.bz2", bz2.compress), ("a.txt.zip", zipped)])
def test_a_bomb_is_refused_before_it_takes_memory(name, compress, tmp_path, monkeypatch):
    monkeypatch.setattr(compressed, "UNSUSPECTED", 2**20)
    (tmp_path / name).write_bytes(compress(bytes(2**23)))
    with pytest.raises(DataError, match="decompressed, it is more than 100 times as large"):
        read_text(tmp_path / name)
    (tmp_path / name).write_bytes(compress(b"many lines alike\n" * 1000))
    assert len(read_text(tmp_path / name)[0]) == 17_000


def test_texts_have_a_ceiling(tmp_path, monkeypatch):
    monkeypatch.setattr(compressed, "LARGEST", 2**20)
    (tmp_path / "a.txt").write_bytes(b"x" * (2**20 + 1))
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(os.urandom(2**20 + 1)))
    for source in (tmp_path / "a.txt", tmp_path / "a.txt.gz", io.BytesIO(b"x" * (2**20 + 1))):
        with pytest.raises(DataError, match="it has more than 1,048,576 bytes of text; split it"):
            read_text(source)
    assert read_text(io.BytesIO(b"x" * 2**20))[0] == "x" * 2**20


def test_a_text_that_needs_more_memory_than_there_is(tmp_path, monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: namedtuple("Memory", "available")(3000))
    (tmp_path / "a.txt").write_bytes(b"x" * 1000)
    with pytest.raises(ResourceError, match="3,000 bytes of memory are not enough"):
        read_text(tmp_path / "a.txt")
