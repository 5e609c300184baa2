"""Rows of CSV, TSV and JSON Lines files, each with its line number, and every line accounted for."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinygrad_gpt.data.json_entries import read_entries
from tinygrad_gpt.data.text_files import Source, read_text
from tinygrad_gpt.errors import DataError

__all__ = ["Counts", "Table", "read_table", "table_format"]

FORMATS = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".txt": "tsv", "": "tsv", ".json": "jsonl",
           ".jsonl": "jsonl", ".ndjson": "jsonl"}


@dataclass
class Counts:
    """Where the lines of a file went: lines = records + skipped + header + blank + continued.

    ``quoted`` counts cells of TSV without quotes that begin and end with one, which is kept.
    """

    lines: int = 0
    records: int = 0
    skipped: int = 0
    header: int = 0
    blank: int = 0
    continued: int = 0
    quoted: int = 0

    def __str__(self) -> str:
        """`5,574 lines read, 5,574 records, 0 skipped`, and what else there was."""
        text = f"{self.lines:,} lines read, {self.records:,} records, {self.skipped:,} skipped"
        others = [f"{self.header:,} header"] if self.header else []
        others += [f"{self.blank:,} blank"] if self.blank else []
        others += [f"{self.continued:,} inside quoted cells"] if self.continued else []
        others += [f"{self.quoted:,} cells begin and end with a quote, which was kept"] if self.quoted else []
        return f"{text} ({', '.join(others)})" if others else text


@dataclass
class Table:
    """The well-formed rows of a file as (line number, cells); `names` are known for JSON Lines only."""

    file: str
    skip_malformed: bool
    names: list[str] | None = None
    rows: list[tuple[int, list[Any]]] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)

    def malformed(self, line: int, column: int | str, why: str) -> None:
        """Refuse a row by its place, or count it as skipped.

        Raises:
            DataError: `malformed row (sms.csv, line 7, column 3): …`, unless malformed rows are skipped.
        """
        if not self.skip_malformed:
            where = f"{self.file}, line {line}, column {column}"
            raise DataError(f"malformed row ({where}): {why}; correct it, or skip malformed rows")
        self.counts.skipped += 1

    def take_header(self) -> list[str]:
        """Remove the first row and return its names."""
        self.counts.header += 1
        return [cell.strip() for cell in self.rows.pop(0)[1]]


def table_format(path: Source) -> str:
    """`csv`, `tsv` or `jsonl`, by the extension (`.xz` and `.gz` aside); a file without extension is `tsv`.

    Raises:
        DataError: for any other extension.
    """
    if not isinstance(path, (str, Path)):
        return "tsv"
    name = Path(str(path).removesuffix(".xz").removesuffix(".gz"))
    if name.suffix.lower() not in FORMATS:
        raise DataError(f"cannot read ({path}): unknown extension {name.suffix}; use .csv, .tsv or .jsonl")
    return FORMATS[name.suffix.lower()]


def read_table(
    path: Source, *, encoding: str = "utf-8", skip_malformed: bool = False, quotes: bool = False,
) -> Table:
    """Read all rows; those of CSV and TSV must be as long as the first one.

    CSV is read with quotes as in RFC 4180, and so is TSV if a quote in it is doubled and all rows agree, or if that is
    asked for; other TSV is read without. Where the first line has no comma (no tab in TSV), the one of comma,
    semicolon, tab and bar with which all rows are of one length separates the cells; a first line ``sep=;`` decides.
    Blank lines between rows are ignored and counted.

    Args:
        path: a file; its extension says which format (see `table_format`).
        encoding: of a file without byte order mark.
        skip_malformed: count malformed rows instead of refusing the file.
        quotes: read TSV as CSV with tabs for commas; a quote inside an unquoted cell is a letter.

    Raises:
        DataError: a malformed row, an unclosed quote, a file that cannot be decoded, a file without rows.
    """
    kind = table_format(path)
    text, name = read_text(path, encoding)
    table = Table(name, skip_malformed)
    for line, cells in _json_rows(text, table) if kind == "jsonl" else _delimited_rows(text, table, kind, quotes):
        width = len(table.rows[0][1]) if table.rows else len(cells)
        if len(cells) != width:
            table.malformed(line, min(len(cells), width) + 1, f"{len(cells)} cells, but the first row has {width}")
        else:
            table.rows.append((line, cells))
    if not table.rows:
        raise DataError(f"no rows ({name}): {table.counts}; give a file with one example a row")
    return table


def _lines(text: str, table: Table) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers from 1; a line ends with LF, CRLF or CR."""
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        table.counts.lines = number
        if line.strip(" \n"):
            yield number, line.removesuffix("\n")
        else:
            table.counts.blank += 1


def _tsv_rows(text: str, table: Table) -> Iterator[tuple[int, list[Any]]]:
    for number, line in _lines(text, table):
        cells = line.split("\t")
        table.counts.quoted += sum(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in cells)
        yield number, cells


def _delimited_rows(text: str, table: Table, kind: str, quotes: bool) -> Iterator[tuple[int, list[Any]]]:
    """Rows, separated as the first line says (``sep=;``, as Excel writes it), or as the rows agree on."""
    usual = "," if kind == "csv" else "\t"
    if named := re.match("sep=([,;|\t])\r?\n", text):
        table.counts.header = 1
        yield from _csv_rows(text, table, named[1], first=2)
        return
    delimiter = _separator(text, usual)
    if delimiter == usual == "\t" and not quotes and not _is_quoted(text):
        yield from _tsv_rows(text, table)
    else:
        yield from _csv_rows(text, table, delimiter, strict=not quotes or usual == ",")


def _separator(text: str, usual: str) -> str:
    """The usual one, unless the first line lacks it and all rows have the same number of cells with another."""
    first = text[:re.search("[\r\n]|$", text).start()]  # type: ignore[union-attr]
    others = [] if usual in first else [one for one in ",;\t|" if one in first and len(_widths(text, one)) == 1]
    return others[0] if len(others) == 1 else usual


def _is_quoted(text: str) -> bool:
    """Whether a text with tabs is one of quoted cells: a quote is doubled, and all rows agree if quotes are read."""
    return '""' in text and len(_widths(text, "\t")) == 1


def _widths(text: str, delimiter: str) -> set[int]:
    """How many cells the rows have; none if quotes are not where they belong."""
    try:
        return {len(cells) for _, cells in _csv_rows(text, Table("", skip_malformed=False), delimiter)}
    except DataError:
        return set()


def _csv_rows(text: str, table: Table, delimiter: str = ",", strict: bool = True,
              first: int = 1) -> Iterator[tuple[int, list[Any]]]:
    """Rows from a line on, with their numbers; not ``strict``, a quote inside an unquoted cell is a letter."""
    lines = io.StringIO(text, newline="").readlines()
    reader = csv.reader(lines[first - 1:], delimiter=delimiter, strict=strict)
    counts = table.counts
    while True:
        start = reader.line_num + first
        try:
            cells = _next_row(reader)
            if not strict and reader.line_num + first > len(lines):
                _check_closed(lines[start - 1:], delimiter)
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


def _check_closed(lines: list[str], delimiter: str) -> None:
    """Raise csv.Error if the last row of a text ends inside a quoted cell; only a strict reader notices."""
    try:
        _next_row(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error as error:
        if "unexpected end" in str(error):
            raise


def _next_row(reader: Iterator[list[str]]) -> list[str]:
    """The next row with cells of any length; the limit of the module csv holds for other users of it."""
    limit = csv.field_size_limit(2**31 - 1)
    try:
        return next(reader)
    finally:
        csv.field_size_limit(limit)


def _json_rows(text: str, table: Table) -> Iterator[tuple[int, list[Any]]]:
    """The values of each object; the keys of the first are the columns, and a missing value is None."""
    entry = None
    for entry in read_entries(text, by_line=True):
        if entry.fault:
            table.malformed(entry.line, entry.column, entry.fault)
        elif not isinstance(entry.value, dict):
            table.malformed(entry.line, 1, f"a JSON object is expected, not {type(entry.value).__name__}")
        else:
            table.names = table.names or list(entry.value)
            yield entry.line, [entry.value.get(name) for name in table.names]
    if entry is not None and entry.unit == "entry":
        table.counts.lines = entry.line
    else:
        for _ in _lines(text, table):
            pass
