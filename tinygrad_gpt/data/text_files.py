"""Bytes to text: compressed files, byte order marks, ceilings, and the exact place of a byte that is no character."""

import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from tinygrad_gpt.data.encodings import advice, byte_order, checked_encoding, control_character
from tinygrad_gpt.errors import DataError, ResourceError
from tinygrad_gpt.files import open_regular

__all__ = ["LARGEST", "Source", "read_text"]

Source = str | Path | bytes | BinaryIO

LARGEST = 2**30  # bytes of a text, decompressed
UNSUSPECTED, LARGEST_RATIO = 2**26, 100  # decompressed bytes, and how many from one byte; English takes 3 to 5
MEMORY_PER_BYTE = 4  # of a text while it is read: its bytes, its characters, its rows
PIECE = 2**20  # bytes read at once

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_OPENED: dict[str, Callable[[BinaryIO], io.BufferedIOBase]] = {
    ".xz": lzma.LZMAFile, ".gz": lambda file: gzip.GzipFile(fileobj=file)}


def read_text(source: Source, encoding: str = "utf-8") -> tuple[str, str]:
    """Read a whole text; `.xz` and `.gz` files are decompressed.

    Args:
        source: a path of a regular file, the bytes themselves, or an open binary stream.
        encoding: of a text without byte order mark; a mark (UTF-8, UTF-16, UTF-32) decides by itself and is removed.
            latin-1 means cp1252, as in the Encoding Standard: they differ in bytes that no text has in latin-1.

    Returns:
        The text, and the name to use for it in messages.

    Raises:
        DataError: `cannot read (sms.tsv, line 3, column 17): byte 0xe9 is not utf-8; …`; a text of more than 1 GiB; a
            file that grows more than a hundredfold when it is decompressed.
        ResourceError: a text that needs more memory than there is.
        UsageError: an encoding that is not one of text.

    Source: https://encoding.spec.whatwg.org/#names-and-labels
    """
    encoding = checked_encoding(encoding)
    data, name = _read_bytes(source)
    for mark, marked_encoding in _MARKS:
        if data.startswith(mark):
            data, encoding = data[len(mark):], marked_encoding
            break
    encoding = byte_order(data, encoding)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise _refusal(name, data, encoding, error.start) from error
    if (control := control_character(text, data, encoding)) is not None:
        raise _refusal(name, data, encoding, len(text[:control].encode(encoding)))
    return text, name


def _refusal(name: str, data: bytes | bytearray, encoding: str, at: int) -> DataError:
    before = data[:at].decode(encoding, "replace").split("\n")
    where = f"{name}, line {len(before)}, column {len(before[-1]) + 1}"
    return DataError(f"cannot read ({where}): byte 0x{data[at]:02x} is not {encoding}; {advice(data, at, encoding)}")


def _read_bytes(source: Source) -> tuple[bytes | bytearray, str]:
    if isinstance(source, bytes):
        return source, "text"
    if not isinstance(source, (str, Path)):
        return _bounded(source, "standard input"), "standard input"
    name = str(source)
    try:
        with open_regular(source) as file:
            decompressed = _OPENED.get(name[-3:])
            if decompressed is None:
                return _bounded(file, name), name
            with decompressed(file) as content:
                return _bounded(content, name, file), name
    except (lzma.LZMAError, zlib.error, gzip.BadGzipFile, EOFError) as error:
        raise DataError(f"cannot read ({source}): {error}; the compressed file is damaged, use another copy") from error
    except ResourceError:
        raise
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"cannot read ({source}): {reason}; give the path of a text file") from error


def _bounded(content: BinaryIO | io.BufferedIOBase, name: str, compressed: BinaryIO | None = None) -> bytearray:
    """All bytes of a stream, unless they are too many; ``compressed`` is the file that they come from."""
    import psutil

    data, available = bytearray(), psutil.virtual_memory().available
    while piece := content.read(PIECE):
        data += piece
        if len(data) > LARGEST:
            raise DataError(f"cannot read ({name}): it has more than {LARGEST:,} bytes of text; split it into several")
        if compressed and len(data) > max(UNSUSPECTED, LARGEST_RATIO * compressed.tell()):
            raise DataError(f"cannot read ({name}): decompressed, it is more than {LARGEST_RATIO} times as large, as "
                            "no text is; decompress it yourself and look at it")
        if len(data) * MEMORY_PER_BYTE > available:
            raise ResourceError(f"cannot read ({name}): after {len(data):,} bytes, {available:,} bytes of memory are "
                                "not enough for more; split the file, or use a machine with more memory")
    return data
