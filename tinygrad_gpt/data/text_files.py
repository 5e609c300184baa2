"""Bytes to text: compressed files, byte order marks, and the exact place of a byte that is no character."""

import codecs
import gzip
import lzma
import zlib
from pathlib import Path
from typing import BinaryIO

from tinygrad_gpt.errors import DataError

__all__ = ["Source", "read_text"]

Source = str | Path | bytes | BinaryIO

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


def read_text(source: Source, encoding: str = "utf-8") -> tuple[str, str]:
    """Read a whole text; `.xz` and `.gz` files are decompressed.

    Args:
        source: a path, the bytes themselves, or an open binary stream.
        encoding: of a text without byte order mark; a mark (UTF-8, UTF-16) decides by itself and is removed.

    Returns:
        The text, and the name to use for it in messages.

    Raises:
        DataError: `cannot read (sms.tsv, line 3, column 17): byte 0xe9 is not utf-8; …`
    """
    data, name = _read_bytes(source)
    for mark, marked_encoding in _MARKS:
        if data.startswith(mark):
            data, encoding = data[len(mark):], marked_encoding
            break
    try:
        return data.decode(encoding), name
    except UnicodeDecodeError as error:
        before = data[:error.start].decode(encoding, "replace").split("\n")
        raise DataError(
            f"cannot read ({name}, line {len(before)}, column {len(before[-1]) + 1}): byte 0x{data[error.start]:02x} "
            f"is not {encoding}; give the right encoding, for example latin-1"
        ) from error
    except (LookupError, ValueError) as error:
        raise DataError(f"cannot read ({name}): no encoding {encoding!r}; use utf-8, utf-16 or latin-1") from error


def _read_bytes(source: Source) -> tuple[bytes, str]:
    if isinstance(source, bytes):
        return source, "text"
    if not isinstance(source, (str, Path)):
        return source.read(), "standard input"
    try:
        data = Path(source).read_bytes()
        if str(source).endswith(".xz"):
            data = lzma.decompress(data)
        elif str(source).endswith(".gz"):
            data = gzip.decompress(data)
    except (lzma.LZMAError, zlib.error, gzip.BadGzipFile, EOFError) as error:
        raise DataError(f"cannot read ({source}): {error}; the compressed file is damaged, use another copy") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"cannot read ({source}): {reason}; give the path of a text file") from error
    return data, str(source)
