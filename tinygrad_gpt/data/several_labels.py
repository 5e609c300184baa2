"""Tables in which a text has any number of labels: a column for each, or one in which they are separated."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_gpt.data.columns import find_text_and_label, find_text_and_labels
from tinygrad_gpt.data.rows import Table
from tinygrad_gpt.data.texts import cell_fault
from tinygrad_gpt.errors import DataError

__all__ = ["label_columns", "separated_labels"]

YES = {"1", "1.0", "yes", "y", "true", "t", "x"}
NO = {"0", "0.0", "no", "n", "false", "f", ""}


def label_columns(table: Table, text: str | None, columns: Sequence[str]) -> tuple[list[str], np.ndarray, list[str]]:
    """Read a table with a column for each label.

    A cell says 1, yes, true, y, t or x, or 0, no, false, n, f or nothing, in any case.

    Args:
        table: open.
        text: its text column, by name or number from 1, or None.
        columns: of the labels, named in the header, in the order of the classes.

    Returns:
        The texts, labels (N, K) float32 of 0 and 1, and the classes (K).

    Raises:
        DataError: `malformed row (a.csv, line 7, column toxic): 'maybe' is neither 1, yes or true nor 0, no, false …`;
            a label that no text has.
    """
    text_at, places, classes = find_text_and_labels(table, text, columns)
    table.wanted = (text_at, *places)
    texts, rows = [], []
    for line, cells in table.all_rows():
        values = [_truth(cells[at]) for at in places]
        if why := cell_fault(cells[text_at], "text"):
            table.malformed(line, text or text_at + 1, why)
        elif None in values:
            at = values.index(None)
            table.malformed(line, classes[at], f"{str(cells[places[at]])[:30]!r} is neither 1, yes or true nor 0, no, "
                                               "false or empty")
        else:
            texts.append(cells[text_at])
            rows.append(values)
    labels = np.array(rows, np.float32).reshape(len(texts), len(classes))
    _check_used(table, labels, classes)
    return texts, labels, classes


def separated_labels(table: Table, text: str | None, label: str | None,
                     separator: str) -> tuple[list[str], np.ndarray, list[str]]:
    """Read a table with one column of labels that are separated, as in "rude; untrue", or of lists in JSON and Parquet.

    Args:
        table: open.
        text, label: its columns, as in `read_labelled`.
        separator: between labels; spaces around them do not count.

    Returns:
        As `label_columns`; the classes are sorted.

    Raises:
        DataError: as `label_columns`.
    """
    if table.names is None:
        table.rows += table.rest
    text_at, at = table.wanted = find_text_and_label(table, text, label)
    texts, found = [], []
    for line, cells in table.all_rows():
        if why := cell_fault(cells[text_at], "text"):
            table.malformed(line, text or text_at + 1, why)
        elif not isinstance(cells[at], (str, list, type(None))) or any(
                not isinstance(each, str) for each in (cells[at] if isinstance(cells[at], list) else ())):
            table.malformed(line, label or at + 1, "the labels are no text and no list of texts")
        else:
            texts.append(cells[text_at])
            parts = cells[at] if isinstance(cells[at], list) else (cells[at] or "").split(separator)
            found.append({str(part).strip() for part in parts} - {""})
    classes = sorted(set().union(*found))
    labels = np.array([[name in names for name in classes] for names in found], np.float32)
    _check_used(table, labels.reshape(len(texts), len(classes)), classes)
    return texts, labels, classes


def _truth(cell: Any) -> bool | None:
    if cell is None or isinstance(cell, bool):
        return bool(cell)
    folded = str(cell).strip().casefold() if isinstance(cell, str) else "?"
    return True if folded in YES else False if folded in NO else None


def _check_used(table: Table, labels: np.ndarray, classes: Sequence[str]) -> None:
    if len(classes) < 2 or not len(labels):
        raise DataError(f"{len(classes)} labels of {len(labels)} texts ({table.file}): {table.counts}; give two labels "
                        "or more, or one column of classes")
    for name, used in zip(classes, labels.max(axis=0), strict=True):
        if not used:
            raise DataError(f"label {name!r} ({table.file}): none of the {len(labels):,} texts has it; leave it out")
