"""Rows of CSV, TSV and plain text, one after the other."""

import csv
import io
import itertools
import re
from collections.abc import Iterator

from tinygrad_gpt.data.compressed import OpenedBytes
from tinygrad_gpt.data.rows import Row, Table
from tinygrad_gpt.data.text_files import split_lines, text_pieces
from tinygrad_gpt.errors import DataError

__all__ = ["StreamedText", "counted_lines", "delimited_rows", "next_row", "plain_rows"]

HEAD = 2**20  # characters at the beginning that decide how a file is read that is not kept in memory


class StreamedText:
    """A text that is read once: its lines, and its head, which is whole where the text is not longer.

    Args:
        opened: the file.
        encoding: as in `text_pieces`.
        kept: whether all of it will be in memory; then its head is all of it.
    """

    def __init__(self, opened: OpenedBytes, encoding: str, kept: bool):
        self.opened, self.given = opened, 0
        pieces, parts = text_pieces(opened, encoding, kept), []
        length = 0
        for piece in pieces:
            parts.append(piece)
            length += len(piece)
            if not kept and length >= HEAD:
                break
        self.head, following = "".join(parts), next(pieces, "")
        self.is_whole, self.taken = not following, length + len(following)
        self.pieces = self._counted(itertools.chain(parts, [following], pieces))

    def lines(self, newline: str = "") -> Iterator[str]:
        """Lines, each with its end; as in `split_lines`."""
        for line in split_lines(self.pieces, newline):
            self.given += len(line)
            yield line

    def share(self) -> float | None:
        """How much of the file was given out as lines, from 0 to 1; None where that is not known."""
        read = self.opened.share()
        return read * self.given / self.taken if read and self.given else None

    def _counted(self, pieces: Iterator[str]) -> Iterator[str]:
        known = self.taken
        for piece in pieces:
            known -= len(piece)
            self.taken -= min(0, known)
            known = max(0, known)
            yield piece


def plain_rows(lines: Iterator[str], table: Table) -> Iterator[Row]:
    """Each line, also an empty one, unless only empty ones follow."""
    empty = 0
    for number, line in enumerate(lines, start=1):
        if line in ("\n", "\r\n"):
            empty += 1
            continue
        yield from ((number - before, [""]) for before in range(empty, 0, -1))
        empty = 0
        yield number, [line.removesuffix("\n").removesuffix("\r") if line.endswith("\r\n")
                       else line.removesuffix("\n")]


def counted_lines(lines: Iterator[str], table: Table) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers from 1; a line ends with LF, CRLF or CR."""
    for number, line in enumerate(lines, start=1):
        table.counts.lines = number
        if line.strip(" \r\n"):
            yield number, line.rstrip("\r\n")
        else:
            table.counts.blank += 1


def _tsv_rows(lines: Iterator[str], table: Table) -> Iterator[Row]:
    for number, line in counted_lines(lines, table):
        cells = line.split("\t")
        table.counts.quoted += sum(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in cells)
        yield number, cells


def delimited_rows(text: StreamedText, table: Table, kind: str, quotes: bool) -> Iterator[Row]:
    """Rows, separated as the first line says (``sep=;``, as Excel writes it), or as the rows agree on."""
    usual = "," if kind == "csv" else "\t"
    if named := re.match("sep=([,;|\t])\r?\n", text.head):
        table.counts.header = 1
        yield from _csv_rows(text.lines(), table, named[1], first=2)
        return
    delimiter = _separator(text, usual)
    if delimiter == usual == "\t" and not quotes and not _is_quoted(text):
        yield from _tsv_rows(text.lines(), table)
    else:
        yield from _csv_rows(text.lines(), table, delimiter, strict=not quotes or usual == ",")


def _separator(text: StreamedText, usual: str) -> str:
    """The usual one, unless the first line lacks it and all rows have the same number of cells with another."""
    first = text.head[:re.search("[\r\n]|$", text.head).start()]  # type: ignore[union-attr]
    others = [] if usual in first else [one for one in ",;\t|" if one in first and len(_widths(text, one)) == 1]
    return others[0] if len(others) == 1 else usual


def _is_quoted(text: StreamedText) -> bool:
    """Whether a text with tabs is one of quoted cells: a quote is doubled, and all rows agree if quotes are read."""
    return '""' in text.head and len(_widths(text, "\t")) == 1


def _widths(text: StreamedText, delimiter: str) -> set[int]:
    """How many cells the rows have; none if quotes are not where they belong. The end of a part does not count."""
    end = len(text.head) if text.is_whole else max(text.head.rfind("\n"), text.head.rfind("\r")) + 1
    widths: set[int] = set()
    try:
        for _, cells in _csv_rows(iter(io.StringIO(text.head[:end], newline="")), Table("", False), delimiter):
            widths.add(len(cells))
    except DataError as error:
        return widths if not text.is_whole and "never closed" in str(error) else set()
    return widths


def _csv_rows(lines: Iterator[str], table: Table, delimiter: str = ",", strict: bool = True,
              first: int = 1) -> Iterator[Row]:
    """Rows from a line on, with their numbers; not ``strict``, a quote inside an unquoted cell is a letter."""
    of_row = _LinesOfRow(itertools.islice(lines, first - 1, None))
    reader = csv.reader(of_row, delimiter=delimiter, strict=strict)
    counts = table.counts
    while True:
        start = reader.line_num + first
        of_row.taken.clear()
        try:
            cells = next_row(reader)
            if not strict and of_row.is_last:
                _check_closed(of_row.taken, delimiter)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error):  # all that follows was swallowed
                where = f"{table.file}, line {start}"
                raise DataError(f"malformed row ({where}): a quote is never closed; close or double it") from error
            table.malformed(start, 1, f"{error} (a quote inside a quoted cell is written twice)")
            cells = None
        finally:
            counts.continued += max(0, reader.line_num + first - 1 - start)
            counts.lines = reader.line_num + first - 1
        if cells:
            yield start, cells
        elif cells is not None:
            counts.blank += 1


class _LinesOfRow:
    """An iterator over lines that keeps those it has given out, and knows its last."""

    def __init__(self, lines: Iterator[str]):
        self.lines, self.taken = lines, list[str]()
        self.upcoming = next(lines, None)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.upcoming is None:
            raise StopIteration
        line, self.upcoming = self.upcoming, next(self.lines, None)
        self.taken.append(line)
        return line

    @property
    def is_last(self) -> bool:
        return self.upcoming is None


def _check_closed(lines: list[str], delimiter: str) -> None:
    """Raise csv.Error if the last row of a text ends inside a quoted cell; only a strict reader notices."""
    try:
        next_row(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error as error:
        if "unexpected end" in str(error):
            raise


def next_row(reader: Iterator[list[str]]) -> list[str]:
    """The next row with cells of any length; the limit of the module csv holds for other users of it."""
    limit = csv.field_size_limit(2**31 - 1)
    try:
        return next(reader)
    finally:
        csv.field_size_limit(limit)
