"""Texts without labels from files, all at once or one after the other."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinygrad_gpt.data.columns import find_text
from tinygrad_gpt.data.compressed import Source, plain_name
from tinygrad_gpt.data.rows import Table
from tinygrad_gpt.data.tables import open_table
from tinygrad_gpt.errors import DataError

__all__ = ["TextRows", "cell_fault", "open_texts", "read_texts"]

TABLES = (".csv", ".tsv", ".tab", ".json", ".jsonl", ".ndjson", ".xlsx", ".xlsm", ".parquet")
KINDS = {"Number": "a number", "bool": "true or false", "list": "a list", "dict": "an object", "bytes": "bytes",
         "datetime": "a date", "date": "a date", "Timestamp": "a date", "time": "a time", "timedelta": "a duration",
         "SheetError": "an error of Excel", "Decimal": "a number", "NoneType": "missing"}


class TextRows:
    """The texts of a file in its order, read while they are asked for, each once.

    Args:
        table: the open file.
        at: position of its text column.
        column: its name, for messages.

    Attributes:
        missing: rows without text so far, for which "" stands; none if malformed rows are skipped.
        first_missing: line of the first of them.
    """

    def __init__(self, table: Table, at: int, column: str):
        self.table, self.at, self.column = table, at, column
        self.missing = self.first_missing = 0
        self.texts = self._read()

    def __iter__(self) -> Iterator[str]:
        return self.texts

    def __next__(self) -> str:
        return next(self.texts)

    def _read(self) -> Iterator[str]:
        for line, cells in self.table.all_rows():
            cell = cells[self.at]
            if (cell is None or cell == "" or (type(cell) is str and not cell.strip())) and (
                    not self.table.skip_malformed):
                self.missing, self.first_missing = self.missing + 1, self.first_missing or line
                yield ""
            elif why := cell_fault(cell, "text"):
                self.table.malformed(line, self.column, why)
            else:
                yield cell


def is_table(path: Source) -> bool:
    """Whether the name of a file says that it has columns; bytes and streams have none."""
    return isinstance(path, (str, Path)) and plain_name(path).lower().endswith(TABLES)


@contextlib.contextmanager
def open_texts(path: Source, text_column: str | None = None, *, encoding: str = "utf-8",
               skip_malformed: bool = False) -> Iterator[TextRows]:
    """Open the texts of a file: one a line, or one column of a CSV, TSV, JSON Lines, Excel or Parquet file.

    A file without extension, a `.txt` file, bytes or a binary stream is plain text, unless a column is given.
    Columns are given and found as in `read_labelled`; a table without header needs the number.

    Raises:
        DataError: as `read_labelled`, now or when the row is read.
    """
    plain = text_column is None and not is_table(path)
    with open_table(path, encoding=encoding, skip_malformed=skip_malformed, plain=plain) as table:
        at = 0 if plain else find_text(table, text_column)
        table.wanted = (at,)
        yield TextRows(table, at, text_column or str(at + 1))


def read_texts(
    path: Source, text_column: str | None = None, *, encoding: str = "utf-8", skip_malformed: bool = False,
) -> tuple[list[str], int]:
    """Read all texts of a file, as `open_texts`.

    Returns:
        The texts, and how many malformed rows were skipped.

    Raises:
        DataError: an empty line or cell, and as `read_labelled`.
    """
    with open_texts(path, text_column, encoding=encoding, skip_malformed=skip_malformed) as rows:
        texts = []
        for text in rows:
            if not text:
                rows.table.malformed(rows.first_missing, rows.column, "the text is empty")
            texts.append(text)
    if not texts:
        raise DataError(f"no texts ({rows.table.file}): the file is empty; give one text a line")
    return texts, rows.table.counts.skipped


def cell_fault(cell: Any, what: str) -> str:
    """Why a cell cannot be a text or a label, or ""."""
    if type(cell) is not str:
        return f"the {what} is {KINDS.get(type(cell).__name__, 'a ' + type(cell).__name__)}, not a string"
    if not cell.strip():
        return f"the {what} is empty"
    if "\0" in cell:
        return f"a NUL character in the {what} (UTF-16 without byte order mark needs its encoding)"
    if re.search("[\ud800-\udfff]", cell):
        return f"half a surrogate pair in the {what}"
    return ""
