"""What reading a table gives: rows, each with its line number, and where every line went."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tinygrad_gpt.errors import DataError

__all__ = ["Counts", "Row", "Table"]

Row = tuple[int, list[Any]]  # line number, cells


@dataclass
class Counts:
    """Where the lines of a file went: lines = records + skipped + header + blank + continued.

    ``quoted`` counts cells of TSV without quotes that begin and end with one, which is kept; ``sheets`` those of a
    workbook behind the first, which are not read.
    """

    lines: int = 0
    records: int = 0
    skipped: int = 0
    header: int = 0
    blank: int = 0
    continued: int = 0
    quoted: int = 0
    sheets: int = 0

    def __str__(self) -> str:
        """`5,574 lines read, 5,574 records, 0 skipped`, and what else there was."""
        text = f"{self.lines:,} lines read, {self.records:,} records, {self.skipped:,} skipped"
        others = [f"{self.header:,} header"] if self.header else []
        others += [f"{self.blank:,} blank"] if self.blank else []
        others += [f"{self.continued:,} inside quoted cells"] if self.continued else []
        others += [f"{self.quoted:,} cells begin and end with a quote, which was kept"] if self.quoted else []
        others += [f"{self.sheets:,} more sheets not read"] if self.sheets else []
        return f"{text} ({', '.join(others)})" if others else text


@dataclass
class Table:
    """The well-formed rows of a file as (line number, cells).

    Args:
        file, skip_malformed: as given.
        names: of the columns, where they are not in the first row: of JSON Lines and Parquet.
        rows: those that were read: the first, or all.
        rest: those that follow.
        share: how much of the file is read, from 0 to 1; None where that is not known.
        wanted: positions of the columns that are read; a file that can do so leaves out the others.
    """

    file: str
    skip_malformed: bool
    names: list[str] | None = None
    rows: list[Row] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    rest: Iterator[Row] = field(default_factory=lambda: iter(()))
    share: Callable[[], float | None] = lambda: None
    wanted: tuple[int, ...] | None = None

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
        return ["" if cell is None else str(cell).strip() for cell in self.rows.pop(0)[1]]

    def all_rows(self) -> Iterator[Row]:
        """The rows that were read, and those that follow."""
        return itertools.chain(self.rows, self.rest)
