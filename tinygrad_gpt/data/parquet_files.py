"""Rows of Parquet files, read and written by pyarrow one batch after the other."""

import contextlib
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tinygrad_gpt.data.compressed import check_growth
from tinygrad_gpt.data.json_entries import Number
from tinygrad_gpt.data.rows import Row, Table
from tinygrad_gpt.errors import DataError
from tinygrad_gpt.files import open_regular

__all__ = ["check_parquet", "open_parquet", "parquet_pieces"]

ROWS, GROUP = 1024, 2**16  # rows of a batch that is read, of a group that is written


@contextlib.contextmanager
def open_parquet(path: str | Path, table: Table) -> Iterator[None]:
    """Open a Parquet file as the rows of a table; of its columns those are read that the table wants.

    Raises:
        DataError: "cannot read (a.parquet): …": pyarrow is not installed; the file is damaged, encrypted or of another
            kind; it grows more than a hundredfold when it is decompressed.
    """
    parquet = check_parquet(f"cannot read ({path})")
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


def check_parquet(what: str) -> Any:
    """The module that reads and writes Parquet.

    Raises:
        DataError: "cannot read (a.parquet): pyarrow is not installed; …", beginning with ``what``.
    """
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise DataError(f"{what}: pyarrow is not installed; pip install '.[files]', or use .csv") from None
    return parquet


def parquet_pieces(rows: Iterable[dict[str, Any]], columns: Sequence[str]) -> Iterator[bytes]:
    """The bytes of a Parquet file, in pieces.

    Args:
        rows: values by column.
        columns: names; the first two hold strings, the others numbers.
    """
    import pyarrow
    from pyarrow import parquet

    types = [pyarrow.string()] * 2 + [pyarrow.float32()] * (len(columns) - 2)
    schema, written, rows = pyarrow.schema(list(zip(columns, types, strict=True))), _Pieces(), iter(rows)
    with parquet.ParquetWriter(written, schema) as writer:
        while batch := list(itertools.islice(rows, GROUP)):
            writer.write_table(pyarrow.Table.from_pylist(batch, schema))
            yield written.taken()
    yield written.taken()


class _Pieces(io.RawIOBase):
    """A file that is only written, and from which what was written is taken."""

    def __init__(self) -> None:
        self.data, self.position = bytearray(), 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def write(self, data: Any) -> int:
        self.data += data
        self.position += len(memoryview(data).cast("B"))
        return len(memoryview(data).cast("B"))

    def taken(self) -> bytes:
        data, self.data = bytes(self.data), bytearray()
        return data


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
