"""Rows of Excel workbooks, read by openpyxl one after the other."""

import contextlib
import datetime
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinygrad_gpt.data.compressed import check_growth, explained
from tinygrad_gpt.data.rows import Row, Table
from tinygrad_gpt.errors import DataError
from tinygrad_gpt.files import open_regular

__all__ = ["open_workbook"]

OLE = b"\xd0\xcf\x11\xe0"  # first bytes of .xls, and of what is encrypted


@contextlib.contextmanager
def open_workbook(path: str | Path, table: Table) -> Iterator[None]:
    """Open the first sheet of a workbook as the rows of a table.

    Numbers are as they are spelled, as in CSV; formulas are the values that were saved with them. Of merged cells the
    first has the value. Rows without a value are blank.

    Raises:
        DataError: "cannot read (a.xlsx): …": openpyxl is not installed; the file is damaged, encrypted or of another
            kind; it grows more than a hundredfold when it is decompressed.
    """
    openpyxl = _openpyxl(path)
    with open_regular(path) as file:
        if file.read(4) == OLE:
            raise DataError(f"cannot read ({path}): it has a password, or is an old .xls; save it as .xlsx without one")
        with _explained(path):
            with zipfile.ZipFile(file) as archive:
                check_growth(str(path), sum(info.file_size for info in archive.infolist()), Path(path).stat().st_size)
            book = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
        try:
            if not book.worksheets:
                raise DataError(f"cannot read ({path}): it has no sheet of cells; give one with a row for each text")
            sheet = book.worksheets[0]
            table.counts.sheets = len(book.worksheets) - 1
            stated = sheet.max_row or 0
            sheet.reset_dimensions()  # what some programs write there is wrong, and openpyxl would stop there
            table.share = lambda: table.counts.lines / stated if table.counts.lines < stated else None
            table.rest = _rows(sheet, table)
            yield
        finally:
            book.close()


def _openpyxl(path: str | Path) -> Any:
    try:
        import openpyxl
    except ImportError:
        raise DataError(f"cannot read ({path}): openpyxl is not installed; pip install '.[files]', or save the sheet "
                        "as .csv") from None
    return openpyxl


@contextlib.contextmanager
def _explained(path: str | Path) -> Iterator[None]:
    """One line for what openpyxl and the parser of XML below it raise, which is of many types."""
    try:
        with explained(path):
            yield
    except (DataError, MemoryError):
        raise
    except Exception as error:
        raise DataError(f"cannot read ({path}): it is no workbook that openpyxl reads ({type(error).__name__}: "
                        f"{' '.join(str(error).split())[:60]}); open it in Excel and save it as .xlsx") from error


def _rows(sheet: Any, table: Table) -> Iterator[Row]:
    rows, width, number = iter(sheet.iter_rows()), 0, 0
    while True:
        with _explained(table.file):
            row = next(rows, None)
        if row is None:
            return
        number += 1
        table.counts.lines = number
        cells = [_value(cell) for cell in row]
        while cells and cells[-1] is None:
            cells.pop()
        if not cells:
            table.counts.blank += 1
            continue
        width = width or len(cells)
        yield number, cells + [None] * (width - len(cells))


def _value(cell: Any) -> Any:
    """Text, true or false, None, or a date, which has no spelling of its own."""
    value = cell.value
    if isinstance(value, str):
        if cell.data_type == "e":
            return SheetError(value)
        return re.sub("_x00([01][0-9A-Fa-f])_", lambda code: chr(int(code[1], 16)), value)
    if isinstance(value, (bool, datetime.date, datetime.time, datetime.timedelta)):
        return value
    return value if value is None else str(value)


class SheetError:
    """A cell with an error of Excel, such as #N/A."""

    def __init__(self, name: str):
        self.name = name
