"""Files of bytes, decompressed while they are read, within limits; what is no text is refused by its first bytes."""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tinygrad_gpt.errors import DataError, ResourceError
from tinygrad_gpt.files import open_regular

__all__ = ["LARGEST", "OpenedBytes", "Source", "check_growth", "explained", "open_bytes", "plain_name"]

Source = str | Path | bytes | BinaryIO

LARGEST = 2**30  # bytes of a text that is kept in memory, decompressed
UNSUSPECTED, LARGEST_RATIO = 2**26, 100  # decompressed bytes, and how many from one byte; English takes 3 to 5
MEMORY_PER_BYTE = 4  # of a text while it is read: its bytes, its characters, its rows
PIECE = 2**16  # bytes read at once

DAMAGED = (lzma.LZMAError, zlib.error, gzip.BadGzipFile, EOFError, zipfile.BadZipFile)
SYSTEMS_FILES = ("__MACOSX/", ".DS_Store", "Thumbs.db")  # in archives that file managers make
NOT_READ = {".zst": "Zstandard", ".7z": "7-Zip", ".rar": "RAR", ".lz4": "LZ4", ".br": "Brotli", ".tgz": "tar",
            ".tar": "tar"}
FOREIGN = (  # first bytes of what is no text, what it is, and what to do
    (b"\x1f\x8b", "it is compressed with gzip", "add .gz to its name"),
    (b"\xfd7zXZ\0", "it is compressed with xz", "add .xz to its name"),
    (b"BZh91AY&SY", "it is compressed with bzip2", "add .bz2 to its name"),
    (b"PK\x03\x04", "it is a zip archive, an Excel or a Word file", "rename it to .zip or .xlsx, whichever it is"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with Zstandard, which is not read", "decompress it with: zstd -d"),
    (b"PAR1", "it is a Parquet file", "give it the ending .parquet"),
    (b"\xd0\xcf\x11\xe0", "it is an old or an encrypted file of Excel or Word", "save it as .xlsx without a password"),
    (b"%PDF-", "it is a PDF", "export its texts as .csv or .txt"),
    (b"SQLite format 3\0", "it is a database of SQLite", "export the table as .csv"),
)


def _only_member(file: BinaryIO) -> Any:
    archive = zipfile.ZipFile(file)
    member = _member(archive)
    if member.flag_bits & 1:
        raise DataError("it is encrypted; decompress it yourself")
    return archive.open(member)


_OPENED: dict[str, Callable[[BinaryIO], Any]] = {
    ".xz": lzma.LZMAFile, ".gz": lambda file: gzip.GzipFile(fileobj=file), ".bz2": bz2.BZ2File, ".zip": _only_member}


def plain_name(path: str | Path) -> str:
    """The name of a file without that of its compression; of an archive that does not say it, of the file in it.

    Raises:
        DataError: `cannot read (a.zip): it holds 3 files; …`, and formats of compression that are not read.
    """
    stem, ending = os.path.splitext(str(path))
    if ending.lower() in NOT_READ:
        raise DataError(f"cannot read ({path}): {NOT_READ[ending.lower()]} is not read; decompress it, or "
                        "use .gz, .xz, .bz2 or .zip")
    if ending.lower() == ".zip" and not os.path.splitext(stem)[1]:
        with explained(path), open_regular(path) as file, zipfile.ZipFile(file) as archive:
            return _member(archive).filename
    return stem if ending.lower() in _OPENED else str(path)


def _member(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    files = [info for info in archive.infolist() if not info.is_dir() and not info.filename.startswith(SYSTEMS_FILES[0])
             and not info.filename.endswith(SYSTEMS_FILES[1:])]
    if len(files) != 1:
        raise DataError(f"it holds {len(files)} files; give an archive of one file")
    return files[0]


@dataclass
class OpenedBytes:
    """A file that is being read.

    Args:
        content: its bytes, decompressed.
        name: for messages.
        file: what it is read from; ``content``, unless that is decompressed.
        size: of ``file``; 0 where it is not known.
    """

    content: BinaryIO
    name: str
    file: BinaryIO
    size: int = 0

    def pieces(self, kept: bool = True) -> Iterator[bytes]:
        """All bytes, in pieces of up to 64 KiB.

        Args:
            kept: whether they stay in memory, which has room for a limited number.

        Raises:
            DataError: more than 1 GiB is kept; more than 64 MiB grew more than a hundredfold; the file is damaged or
                no text.
            ResourceError: what is kept needs more memory than there is.
        """
        import psutil

        done, available = 0, psutil.virtual_memory().available
        while piece := self._read():
            if not done:
                _refuse_foreign(piece, self.name)
            done += len(piece)
            if kept and done > LARGEST:
                raise DataError(f"cannot read ({self.name}): it has more than {LARGEST:,} bytes of text; "
                                "split it into several")
            if self.file is not self.content:
                check_growth(self.name, done, self.file.tell())
            if kept and done * MEMORY_PER_BYTE > available:
                raise ResourceError(f"cannot read ({self.name}): after {done:,} bytes, {available:,} bytes of memory "
                                    "are not enough for more; split the file, or use a machine with more memory")
            yield piece

    def share(self) -> float | None:
        """How much of the file is read, from 0 to 1; None where that is not known."""
        return min(1.0, self.file.tell() / self.size) if self.size else None

    def _read(self) -> bytes:
        with explained(self.name):
            return self.content.read(PIECE)


@contextlib.contextmanager
def open_bytes(source: Source) -> Iterator[OpenedBytes]:
    """Open a path, bytes, or a binary stream; `.gz`, `.xz`, `.bz2` and `.zip` files are decompressed.

    Raises:
        DataError: `cannot read (a.csv.gz): …; the compressed file is damaged, use another copy`.
    """
    if isinstance(source, bytes):
        given = io.BytesIO(source)
        yield OpenedBytes(given, "text", given, len(source))
    elif not isinstance(source, (str, Path)):
        yield OpenedBytes(source, "standard input", source)
    else:
        name = str(source)
        with contextlib.ExitStack() as stack:
            with explained(name):
                plain_name(name)
                file = stack.enter_context(open_regular(source))
                decompressed = _OPENED.get(os.path.splitext(name)[1].lower())
                content = stack.enter_context(decompressed(file)) if decompressed else file
                size = os.fstat(file.fileno()).st_size
            yield OpenedBytes(content, name, file, size)


def check_growth(name: str, size: int, compressed: int) -> None:
    """Refuse what grows as no text does when it is decompressed.

    Raises:
        DataError: `cannot read (a.gz): decompressed, it is more than 100 times as large, as no text is; …`
    """
    if size > max(UNSUSPECTED, LARGEST_RATIO * compressed):
        raise DataError(f"cannot read ({name}): decompressed, it is more than {LARGEST_RATIO} times as large, as "
                        "no text is; decompress it yourself and look at it")


@contextlib.contextmanager
def explained(name: str | Path) -> Iterator[None]:
    """Turn what goes wrong while a file is read into one line with its name."""
    try:
        yield
    except DataError as error:
        raise error if str(error).startswith("cannot read") else DataError(f"cannot read ({name}): {error}") from error
    except ResourceError:
        raise
    except (*DAMAGED, NotImplementedError) as error:
        raise _damaged(name, error) from error
    except OSError as error:
        if error.errno is None:  # bz2
            raise _damaged(name, error) from error
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"cannot read ({name}): {reason}; give the path of a text file") from error


def _damaged(name: str | Path, error: Exception) -> DataError:
    return DataError(f"cannot read ({name}): {str(error)[:100]}; the compressed file is damaged, use another copy")


def _refuse_foreign(start: bytes, name: str) -> None:
    for magic, what, remedy in FOREIGN:
        if start.startswith(magic):
            raise DataError(f"cannot read ({name}): {what}; {remedy}")
