"""Answers in a file that grows while texts are read, and that a stopped run goes on with."""

import csv
import io
import itertools
import json
import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_gpt.data.delimited import next_row
from tinygrad_gpt.data.parquet_files import parquet_pieces
from tinygrad_gpt.errors import DataError, TinygradError, UsageError
from tinygrad_gpt.files import part_of, write_pieces
from tinygrad_gpt.recipes.classification.classify import Prediction, classify_windows
from tinygrad_gpt.runs.saved_model import SavedModel

__all__ = ["ANSWER_FORMATS", "AnswerFile", "Written"]

ANSWER_FORMATS = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl",
                  ".parquet": "parquet"}
COLUMNS = ("text", "label", "probability")
COMPARED, TOLERANCE = 8, 1e-3  # answers of a stopped run that are computed once more, and how much they may differ


@dataclass
class Written:
    """What is in the part of a file: rows that are whole, and the bytes that they take."""

    rows: int = 0
    size: int = 0


class AnswerFile:
    """A table of answers, written row by row as `files.write_pieces` does; Parquet by way of JSON Lines.

    Args:
        path: its ending says the format; its folder exists.
        labels: each has a column of probabilities, where a text may have any number of them; else empty.

    Attributes:
        rows: answers that are in it so far.
    """

    def __init__(self, path: Path, labels: Sequence[str] = ()):
        self.columns, self.rows = (*COLUMNS[:2], *map("p({})".format, labels)) if labels else COLUMNS, 0
        self.path = Path(os.path.realpath(path)) if path.is_symlink() else path
        self.kind = ANSWER_FORMATS[path.suffix.lower()]
        self.rows_path = self.path.with_name(f"{self.path.name}.jsonl") if self.kind == "parquet" else self.path
        self.row_kind = "jsonl" if self.kind == "parquet" else self.kind

    def check(self, resume: bool) -> bool:
        """Whether the file is complete, so that there is nothing to resume.

        Raises:
            UsageError: "cannot write (a.csv): a stopped run left a.csv.part; go on with --resume, or remove it".
        """
        if self.path.exists() and not stat.S_ISREG(self.path.stat().st_mode):
            raise TinygradError(f"cannot write ({self.path}): it is a folder or a device, not a regular file; "
                                "name another")
        if not resume and part_of(self.rows_path).exists():
            raise UsageError(f"cannot write ({self.path}): a stopped run left {part_of(self.rows_path).name}; "
                             "go on with --resume, or remove it")
        return resume and self.path.exists() and not part_of(self.rows_path).exists()

    def written(self, saved: SavedModel, texts: Iterator[str]) -> Written:
        """What a stopped run has written; its texts are taken from ``texts``, with which they are compared.

        Raises:
            UsageError: "cannot resume (a.csv): row 7 is not about text 7; …", or answers of another model.
        """
        found, last = Written(), deque[list[str]](maxlen=COMPARED)
        part = part_of(self.rows_path)
        if not part.exists():
            return found
        with part.open("rb") as file:
            for row in self._whole_rows(file):
                found.size += len(row)
                if found.size == len(row) and self.row_kind != "jsonl":  # the header
                    continue
                cells = self._cells(row)
                found.rows += 1
                if cells[0] != next(texts, None):
                    raise UsageError(f"cannot resume ({self.path}): row {found.rows:,} of {part.name} is not "
                                     f"about text {found.rows:,}; give the same texts, or remove {part.name}")
                last.append(cells)
        self._compare(saved, last)
        return found

    def write(self, windows: Iterable[list[Prediction]], found: Written,
              report: Callable[[int], None] = lambda rows: None) -> int:
        """Write answers behind those that are there; the file appears when it is complete.

        Args:
            windows: the answers.
            found: what `written` returned.
            report: called behind each window with the rows that the part has.

        Returns:
            How many rows the file has.

        Raises:
            DataError: "cannot write as TSV (text 2): it has a tab or a line end; use .csv or .jsonl".
            ResourceError, TinygradError: as `write_pieces`.
        """
        self.rows = found.rows
        pieces = self._pieces(windows, found, report)
        first = next(pieces)  # what cannot be read or written from the start on leaves no part behind
        write_pieces(self.rows_path, itertools.chain([first], pieces), start=found.size)
        if self.kind == "parquet":
            with self.rows_path.open(encoding="utf-8") as file:
                write_pieces(self.path, parquet_pieces(map(json.loads, file), self.columns))
            self.rows_path.unlink()
        return self.rows

    def _pieces(self, windows: Iterable[list[Prediction]], found: Written,
                report: Callable[[int], None]) -> Iterator[bytes]:
        header = b"" if found.size or self.row_kind == "jsonl" else self._row(self.columns, 0)
        for window in windows:
            rows = [self._row(answer.cells(), self.rows + i) for i, answer in enumerate(window, start=1)]
            yield header + b"".join(rows)
            self.rows, header = self.rows + len(window), b""
            report(self.rows)
        yield header

    def _row(self, cells: tuple[Any, ...], number: int) -> bytes:
        if self.row_kind == "jsonl":
            return (json.dumps(dict(zip(self.columns, cells, strict=True)), ensure_ascii=False) + "\n").encode()
        shown = ["" if cell is None else str(cell) for cell in cells]
        if self.row_kind == "tsv":  # without quotes, as TSV is read here; so tabs and line ends have no place in a cell
            if any(character in cell for cell in shown for character in "\t\n\r"):
                raise DataError(f"cannot write as TSV (text {number}): it has a tab or a line end; use .csv or .jsonl")
            return ("\t".join(shown) + "\n").encode()
        line = io.StringIO(newline="")
        csv.writer(line).writerow(shown)
        return line.getvalue().encode()

    def _cells(self, row: bytes) -> list[str]:
        text = row.decode()
        if self.row_kind == "jsonl":
            return ["" if value is None else str(value) for value in json.loads(text).values()]
        if self.row_kind == "tsv":
            return text.removesuffix("\n").split("\t")
        return next_row(csv.reader(io.StringIO(text, newline="")))

    def _whole_rows(self, file: Iterable[bytes]) -> Iterator[bytes]:
        """The rows of a part; the last is left out if it is not whole: it has no end, or a quote is open in it."""
        row = b""
        for line in file:
            row += line
            if line.endswith(b"\n") and (self.row_kind != "csv" or row.count(b'"') % 2 == 0):
                yield row
                row = b""

    def _compare(self, saved: SavedModel, last: Iterable[list[str]]) -> None:
        known = [cells for cells in last if cells[1]]
        again = [answer for window in classify_windows(saved, [cells[0] for cells in known]) for answer in window]
        for (_, label, *probabilities), answer in zip(known, again, strict=True):
            _, now, *figures = answer.cells()
            before = [float(probability) for probability in probabilities]
            if label != now or not np.allclose(before, np.array(figures, float), atol=TOLERANCE):
                part = part_of(self.rows_path).name
                raise UsageError(f"cannot resume ({self.path}): the answers in {part} are of another model; give "
                                 f"that one, or remove {part}")
