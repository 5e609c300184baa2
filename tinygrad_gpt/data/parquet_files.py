"""Rows of Parquet files, read by pyarrow one batch after the other."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinygrad_gpt.data.compressed import check_growth
from tinygrad_gpt.data.json_entries import Number
from tinygrad_gpt.data.rows import Row, Table
from tinygrad_gpt.errors import DataError
from tinygrad_gpt.files import open_regular

__all__ = ["open_parquet"]

ROWS = 1024  # of a batch


@contextlib.contextmanager
def open_parquet(path: str | Path, table: Table) -> Iterator[None]:
    """Open a Parquet file as the rows of a table; of its columns those are read that the table wants.

    Raises:
        DataError: "cannot read (a.parquet): …": pyarrow is not installed; the file is damaged, encrypted or of another
            kind; it grows more than a hundredfold when it is decompressed.
    """
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise DataError(f"cannot read ({path}): pyarrow is not installed; pip install '.[files]', or save the table "
                        "as .csv") from None
    with open_regular(path) as opened:
        with _explained(path):
            file = parquet.ParquetFile(opened)
            groups = [file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups)]
        check_growth(str(path), sum(groups), Path(path).stat().st_size)
        if not file.metadata.num_rows:
            raise DataError(f"no rows ({path}): the table is empty; give a file with one example a row")
        table.names = list(file.schema_arrow.names)
        table.share = lambda: table.counts.lines / (file.metadata.num_rows or 1)
        table.rest = _rows(file, table)
        yield


@contextlib.contextmanager
def _explained(path: str | Path) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except MemoryError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"cannot read ({path}): it is no Parquet file that pyarrow reads "
                        f"({' '.join(str(error).split())[:70]}); use another copy, or save it as .csv") from error


def _rows(file: Any, table: Table) -> Iterator[Row]:
    names, number = table.names or [], 0
    batches = None
    while True:
        with _explained(table.file):
            if batches is None:
                wanted = range(len(names)) if table.wanted is None else table.wanted
                batches = file.iter_batches(ROWS, columns=[names[i] for i in wanted])
            batch = next(batches, None)
            columns = [] if batch is None else [_values(batch.column(i)) for i in range(batch.num_columns)]
        if batch is None:
            return
        for values in zip(*columns, strict=True):
            number += 1
            table.counts.lines = number
            cells: list[Any] = [None] * len(names)
            for i, value in zip(wanted, values, strict=True):
                cells[i] = value
            yield number, cells


def _values(column: Any) -> list[Any]:
    """The values of a column; numbers as they are spelled."""
    return [Number(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value
            for value in column.to_pylist()]
