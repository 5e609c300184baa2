"""Files of rows: CSV, TSV, JSON Lines, Excel, Parquet and plain text, read one row after the other."""

import contextlib
import io
import itertools
from collections.abc import Iterator
from pathlib import Path

from tinygrad_gpt.data.compressed import LARGEST, Source, explained, open_bytes, plain_name
from tinygrad_gpt.data.delimited import StreamedText, counted_lines, delimited_rows, plain_rows
from tinygrad_gpt.data.json_entries import Entry, line_entry, read_entries
from tinygrad_gpt.data.parquet_files import open_parquet
from tinygrad_gpt.data.rows import Row, Table
from tinygrad_gpt.data.workbooks import open_workbook
from tinygrad_gpt.errors import DataError

__all__ = ["open_table", "read_table", "table_format"]

FORMATS = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".txt": "tsv", "": "tsv", ".json": "jsonl",
           ".jsonl": "jsonl", ".ndjson": "jsonl", ".xlsx": "xlsx", ".xlsm": "xlsx", ".parquet": "parquet"}


def table_format(path: Source) -> str:
    """`csv`, `tsv`, `jsonl`, `xlsx` or `parquet`, by the extension, that of a compression aside; `tsv` without one.

    Raises:
        DataError: for any other extension.
    """
    if not isinstance(path, (str, Path)):
        return "tsv"
    ending = Path(plain_name(path)).suffix.lower()
    if ending not in FORMATS:
        raise DataError(f"cannot read ({path}): unknown extension {ending}; use .csv, .tsv, .jsonl, .xlsx or .parquet")
    kind = FORMATS[ending]
    if kind in ("xlsx", "parquet") and plain_name(path) != str(path):
        raise DataError(f"cannot read ({path}): {ending} files are compressed in themselves; decompress this one first")
    return kind


def read_table(
    path: Source, *, encoding: str = "utf-8", skip_malformed: bool = False, quotes: bool = False,
) -> Table:
    """Read all rows; as `open_table`.

    Raises:
        DataError: a malformed row, an unclosed quote, a file that cannot be decoded, a file without rows.
    """
    with open_table(path, encoding=encoding, skip_malformed=skip_malformed, quotes=quotes, kept=True) as table:
        table.rows += table.rest
    return table


@contextlib.contextmanager
def open_table(
    path: Source, *, encoding: str = "utf-8", skip_malformed: bool = False, quotes: bool = False, plain: bool = False,
    kept: bool = False,
) -> Iterator[Table]:
    """Open a file of rows and read the first; those of CSV and TSV must be as long as it.

    CSV is read with quotes as in RFC 4180, and so is TSV if a quote in it is doubled and all rows agree, or if that is
    asked for; other TSV is read without. Where the first line has no comma (no tab in TSV), the one of comma,
    semicolon, tab and bar with which all rows are of one length separates the cells; a first line ``sep=;`` decides.
    "All rows" are those of the first million characters, unless all are kept. Blank lines between
    rows are ignored and counted.

    Args:
        path: a file; its extension says which format (see `table_format`).
        encoding: of a file without byte order mark.
        skip_malformed: count malformed rows instead of refusing the file.
        quotes: read TSV as CSV with tabs for commas; a quote inside an unquoted cell is a letter.
        plain: read a text a line, not a table.
        kept: whether all rows will be in memory, which has room for a limited number.

    Raises:
        DataError: as `read_table`, now or when the row is read.
    """
    kind = "plain" if plain else table_format(path)
    with contextlib.ExitStack() as stack:
        if kind in ("xlsx", "parquet"):
            assert isinstance(path, (str, Path))
            table = Table(str(path), skip_malformed)
            with explained(path):
                stack.enter_context((open_workbook if kind == "xlsx" else open_parquet)(path, table))
        else:
            opened = stack.enter_context(open_bytes(path))
            text = StreamedText(opened, encoding, kept)
            table = Table(opened.name, skip_malformed, share=text.share)
            table.rest = _text_rows(text, table, kind, quotes)
        table.rest = table.rest if kind == "plain" else _of_one_length(table.rest, table)
        if kind != "parquet":  # there the columns to read can still be chosen
            table.rows += itertools.islice(table.rest, 1)
        if not table.rows and plain:
            raise DataError(f"no texts ({table.file}): the file is empty; give one text a line")
        if not table.rows and kind != "parquet":
            raise DataError(f"no rows ({table.file}): {table.counts}; give a file with one example a row")
        yield table


def _of_one_length(rows: Iterator[Row], table: Table) -> Iterator[Row]:
    width = 0
    for line, cells in rows:
        width = width or len(cells)
        if len(cells) != width:
            table.malformed(line, min(len(cells), width) + 1, f"{len(cells)} cells, but the first row has {width}")
        else:
            yield line, cells


def _text_rows(text: StreamedText, table: Table, kind: str, quotes: bool) -> Iterator[Row]:
    if kind == "plain":
        return plain_rows(text.lines("\n"), table)
    return _json_rows(text, table) if kind == "jsonl" else delimited_rows(text, table, kind, quotes)


def _json_rows(text: StreamedText, table: Table) -> Iterator[Row]:
    """The values of each object; the keys of the first are the columns, and a missing value is None."""
    for entry in _json_lines(text, table) if _is_json_lines(text) else _json_values(text, table):
        if entry.fault:
            table.malformed(entry.line, entry.column, entry.fault)
        elif not isinstance(entry.value, dict):
            table.malformed(entry.line, 1, f"a JSON object is expected, not {type(entry.value).__name__}")
        else:
            table.names = table.names or list(entry.value)
            yield entry.line, [entry.value.get(name) for name in table.names]


def _is_json_lines(text: StreamedText) -> bool:
    """Whether a text that is not whole begins with an object on a line of its own; a whole one is read at once."""
    first = line_entry(text.head.lstrip(" \r\n").partition("\n")[0], 1)
    return not text.is_whole and not first.fault and isinstance(first.value, dict)


def _json_lines(text: StreamedText, table: Table) -> Iterator[Entry]:
    return (line_entry(line, number) for number, line in counted_lines(text.lines(), table))


def _json_values(text: StreamedText, table: Table) -> Iterator[Entry]:
    """The values of a list, or of a text of any other layout; all of it is in memory."""
    pieces, size = [], 0
    for piece in text.pieces:
        pieces.append(piece)
        size += len(piece)
        if size > LARGEST:
            raise DataError(f"cannot read ({table.file}): it is one value of more than {LARGEST:,} characters; write "
                            "an object a line")
    whole, entry = "".join(pieces), None
    for entry in read_entries(whole, by_line=True):
        yield entry
    if entry is not None and entry.unit == "entry":
        table.counts.lines = entry.line
    else:
        for _ in counted_lines(iter(io.StringIO(whole, newline="")), table):
            pass
