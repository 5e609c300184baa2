"""Which column of a table holds the texts, and which the labels."""

from collections.abc import Sequence

from tinygrad_gpt.data.rows import Table
from tinygrad_gpt.errors import DataError, UsageError

__all__ = ["find_text", "find_text_and_label", "find_text_and_labels"]

TEXT = ("text", "message", "sentence", "review", "sms", "content", "body", "document", "comment", "tweet", "prompt")
LABEL = ("label", "category", "class", "rating", "target", "sentiment", "intent", "topic")


def find_text_and_label(table: Table, text: str | None, label: str | None) -> tuple[int, int]:
    """The positions of both columns, from 0; a header is removed from the rows of the table.

    Args:
        table: with its header, if there is one, as the first row.
        text, label: names, or numbers from 1 for a table without header, or None (see `read_labelled`).

    Raises:
        DataError: `no label column (a.csv): the columns are 'text', 'mood'; …`
        UsageError: one name and one number.
    """
    numbered = [_is_number(column) for column in (text, label) if column is not None]
    if table.names is None and any(numbered):
        if not all(numbered):
            raise UsageError(f"columns {text!r} and {label!r} ({table.file}): one is a name and one a number; "
                             "give two names, or two numbers if there is no header")
        positions = _by_number(table, text, label)
    elif table.names is None and not numbered and not _has_usual_header(table):
        positions = _of_two_columns(table)
    else:
        names, file = table.names or table.take_header(), table.file
        positions = _by_name(names, text, TEXT, "text", file), _by_name(names, label, LABEL, "label", file)
    if positions[0] == positions[1]:
        raise DataError(f"text and label ({table.file}): both are column {positions[0] + 1}; give two columns")
    return positions


def find_text_and_labels(table: Table, text: str | None, labels: Sequence[str]) -> tuple[int, list[int], list[str]]:
    """The positions of the text column and of several label columns, and the names of the latter.

    Args:
        table: with names, or with a header as its first row, which is removed.
        text: name of the text column, or None.
        labels: names of the others.

    Raises:
        DataError: as `find_text_and_label`, also for a column that is given twice.
    """
    names = table.names or table.take_header()
    at = _by_name(names, text, TEXT, "text", table.file)
    places = [_by_name(names, label, LABEL, "label", table.file) for label in labels]
    if len({at, *places}) <= len(places):
        raise DataError(f"text and labels ({table.file}): a column is given twice; give each once")
    return at, places, [names[place] for place in places]


def find_text(table: Table, text: str | None) -> int:
    """The position of the text column, from 0; without a number the first row is a header, and removed."""
    if table.names is None and text is not None and _is_number(text):
        return _position(table, text)
    return _by_name(table.names or table.take_header(), text, TEXT, "text", table.file)


def _is_number(column: str) -> bool:
    return column.isascii() and column.isdigit()


def _position(table: Table, number: str) -> int:
    width = len(table.rows[0][1])
    if not 1 <= int(number) <= width:
        raise DataError(f"column {number} ({table.file}): there are columns 1 to {width}; give one of them")
    return int(number) - 1


def _by_number(table: Table, text: str | None, label: str | None) -> tuple[int, int]:
    if text is not None and label is not None:
        return _position(table, text), _position(table, label)
    if len(table.rows[0][1]) != 2:
        raise DataError(f"one column given ({table.file}): there are {len(table.rows[0][1])}; give text and label")
    if text is not None:
        return _position(table, text), 1 - _position(table, text)
    assert label is not None
    return 1 - _position(table, label), _position(table, label)


def _usual(names: Sequence[str], usual: tuple[str, ...]) -> list[int]:
    """The columns with a usual name; the first name of the list needs no second look at the others."""
    folded = [str(name).strip().casefold() for name in names]
    return [i for i, name in enumerate(folded) if name == usual[0]] or [
        i for i, name in enumerate(folded) if name in usual]


def _has_usual_header(table: Table) -> bool:
    first = table.rows[0][1]
    return bool(_usual(first, TEXT) and _usual(first, LABEL))


def _by_name(names: list[str], wanted: str | None, usual: tuple[str, ...], what: str, file: str) -> int:
    found = _usual(names, usual if wanted is None else (wanted.strip().casefold(),))
    if len(found) == 1:
        return found[0]
    number = f"{len(found)} {what} columns" if found else f"no {what} column" + (f" {wanted!r}" if wanted else "")
    raise DataError(f"{number} ({file}): the columns are {_listed(names)}; name one, or give numbers if these are data")


def _of_two_columns(table: Table) -> tuple[int, int]:
    """Text and label of a table whose first row does not name both."""
    first = table.rows[0][1]
    if len(first) == 2:
        distinct = [len({cells[i] for _, cells in table.rows}) for i in (0, 1)]
        label = distinct.index(min(distinct))
        recurs = any(cells[label] == first[label] for _, cells in table.rows[1:])
        if distinct[0] != distinct[1] and recurs:
            return 1 - label, label
        named = [_usual(first, names) for names in (TEXT, LABEL)]
        if sum(map(len, named)) == 1:  # a header, of which one name is known
            table.take_header()
            return (named[0][0], 1 - named[0][0]) if named[0] else (1 - named[1][0], named[1][0])
    raise DataError(f"text and label ({table.file}): the first row is {_listed(first)}, which tells neither; "
                    "name the columns, or give their numbers if there is no header")


def _listed(names: Sequence[str]) -> str:
    """Names for a message, shortened, as they may be whole texts."""
    return ", ".join(repr(name if len(name) <= 30 else name[:29] + "…") for name in map(str, names[:12]))
