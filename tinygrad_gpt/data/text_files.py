"""Bytes to text: byte order marks, encodings, lines, and the exact place of a byte that is no character."""

import codecs
import io
from collections.abc import Iterator

from tinygrad_gpt.data.compressed import OpenedBytes, Source, open_bytes
from tinygrad_gpt.data.encodings import advice, byte_order, checked_encoding, control_character
from tinygrad_gpt.errors import DataError

__all__ = ["Source", "read_text", "split_lines", "text_pieces"]

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def read_text(source: Source, encoding: str = "utf-8") -> tuple[str, str]:
    """Read a whole text; `.gz`, `.xz`, `.bz2` and `.zip` files are decompressed.

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
    with open_bytes(source) as opened:
        whole, name = bytearray(), opened.name
        for piece in opened.pieces():
            whole += piece
    data, encoding = _without_mark(whole, encoding)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise _refusal(name, data, encoding, error.start) from error
    if (control := control_character(text, data, encoding)) is not None:
        raise _refusal(name, data, encoding, len(text[:control].encode(encoding)))
    return text, name


def text_pieces(opened: OpenedBytes, encoding: str = "utf-8", kept: bool = True) -> Iterator[str]:
    """The same text in pieces of up to 65,536 characters.

    Args:
        opened: a file.
        encoding: as in `read_text`.
        kept: as in `OpenedBytes.pieces`.

    Raises:
        DataError, ResourceError, UsageError: as `read_text`, when the piece is read.
    """
    encoding, decoder, before = checked_encoding(encoding), None, _Place()
    data: bytes | bytearray
    for data in _and_end(opened.pieces(kept)):
        if decoder is None:
            data, encoding = _without_mark(data, encoding)
            decoder = codecs.getincrementaldecoder(encoding)()
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            raise _refusal(opened.name, error.object, encoding, error.start, before) from error
        encoded = data if encoding == "utf-8" else text.encode(encoding)
        if (control := control_character(text, encoded, encoding)) is not None:
            raise _refusal(opened.name, text.encode(encoding), encoding, len(text[:control].encode(encoding)), before)
        before.add(text)
        yield text


def split_lines(pieces: Iterator[str], newline: str = "") -> Iterator[str]:
    r"""Lines of a text that comes in pieces, each with its end: LF, CRLF or CR; with ``newline`` "\n" LF alone."""
    rest: list[str] = []  # parts of the last line, which may not be whole
    for piece in pieces:
        if rest and rest[-1].endswith("\n"):
            yield "".join(rest)
            rest = []
        if rest and rest[-1].endswith("\r"):  # an LF may follow
            piece = rest.pop() + piece
        lines = list(io.StringIO(piece, newline=newline))
        if len(lines) > 1:
            yield "".join([*rest, lines[0]])
            yield from lines[1:-1]
            rest = []
        rest += lines[-1:]
    if rest:
        yield "".join(rest)


class _Place:
    """Where a piece begins: lines before it, and characters of the line that it goes on with."""

    def __init__(self) -> None:
        self.lines = self.columns = 0

    def add(self, text: str) -> None:
        self.lines += text.count("\n")
        end = text.rfind("\n")
        self.columns = len(text) - end - 1 if end >= 0 else self.columns + len(text)


def _and_end(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces, and an empty one behind the last, at which a decoder refuses half a character."""
    yield from pieces
    yield b""


def _without_mark(data: bytes | bytearray, encoding: str) -> tuple[bytes | bytearray, str]:
    for mark, marked_encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark):], marked_encoding
    return data, byte_order(data, encoding)


def _refusal(name: str, data: bytes | bytearray, encoding: str, at: int, start: _Place | None = None) -> DataError:
    start = start or _Place()
    before = data[:at].decode(encoding, "replace").split("\n")
    column = len(before[-1]) + 1 + (start.columns if len(before) == 1 else 0)
    where = f"{name}, line {start.lines + len(before)}, column {column}"
    return DataError(f"cannot read ({where}): byte 0x{data[at]:02x} is not {encoding}; {advice(data, at, encoding)}")
