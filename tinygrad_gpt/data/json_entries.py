"""Entries of JSON files: a list, objects one after the other, or one a line, whatever the file's ending."""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["Entry", "Number", "line_entry", "read_entries"]


class Number(str):
    """A number as it is spelled in the file, so that 1.0 is the label that it is in a CSV file."""


@dataclass(frozen=True)
class Entry:
    """One value, or what is wrong with it.

    Args:
        line: where it is, from 1; of an entry of a list or of objects in a row, its number.
        unit: what ``line`` counts, "line" or "entry".
        value: of strings, `Number`, bool, None, lists and dicts.
        fault: empty if there is none.
        column: of the fault.
    """

    line: int
    unit: str
    value: Any = None
    fault: str = ""
    column: int = 1


def read_entries(text: str, by_line: bool) -> Iterator[Entry]:
    """Every entry of a text; a syntax error of a list is its last entry, and counts lines.

    Args:
        by_line: whether the lines are the entries of a text that is neither a list nor objects in a row.
    """
    whole = _sequence(text)
    if whole and whole[-1].fault.startswith("not JSON"):
        lines = list(_lines(text))
        first = next((entry for entry in lines if entry), None)
        if by_line or (first and not first.fault):
            whole = lines
    elif not text.lstrip().startswith("[") and _one_a_line(text, len(whole)):
        whole = list(_lines(text))
    yield from whole


def _one_a_line(text: str, entries: int) -> bool:
    return sum(1 for line in io.StringIO(text, newline=None) if line.strip()) == entries


def _sequence(text: str) -> list[Entry]:
    """The values of a list, or those that stand in a row, up to the first that is not JSON."""
    at = _skip(text, 0)
    listed = text[at:at + 1] == "["
    at = _skip(text, at + 1) if listed else at
    entries: list[Entry] = []
    if listed and text[at:at + 1] == "]":
        return entries
    while at < len(text):
        entry, end = _decode(text, at, len(entries) + 1, "entry")
        entries.append(entry)
        if end is None:
            break
        at = _skip(text, end)
        if listed:
            follows = text[at:at + 1]
            if follows != ",":
                if follows != "]" or _skip(text, at + 1) < len(text):
                    entries.append(_syntax(text, at, "Expecting ',' or ']'" if follows != "]" else "Extra data"))
                break
            at = _skip(text, at + 1)
            if at >= len(text):
                entries.append(_syntax(text, at, "Expecting value"))
    return entries


def _lines(text: str) -> Iterator[Entry]:
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        if line.strip(" \n"):
            yield line_entry(line, number)


def line_entry(line: str, number: int) -> Entry:
    """The one value of a line."""
    entry, end = _decode(line, _skip(line, 0), number, "line")
    if end is not None and (rest := _skip(line, end)) < len(line):
        return Entry(number, "line", fault="not JSON: Extra data", column=rest + 1)
    return entry if end is not None else Entry(number, "line", fault=entry.fault, column=entry.column)


def _skip(text: str, at: int) -> int:
    while text[at:at + 1] in (" ", "\t", "\n", "\r"):
        at += 1
    return at


def _syntax(text: str, at: int, why: str) -> Entry:
    return Entry(text.count("\n", 0, at) + 1, "line", fault=f"not JSON: {why}",
                 column=at - text.rfind("\n", 0, at))


def _decode(text: str, at: int, number: int, unit: str) -> tuple[Entry, int | None]:
    """The value that begins at a place, and where it ends; None if it is no value."""
    faults: list[str] = []

    def as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(made := dict(pairs)) < len(pairs):
            keys = [key for key, _ in pairs]
            faults.append(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is there twice")
        return made

    decoder = json.JSONDecoder(
        object_pairs_hook=as_object, parse_int=Number, parse_float=Number,
        parse_constant=lambda name: faults.append(f"{name} is no number of JSON"))
    try:
        value, end = decoder.raw_decode(text, at)
    except json.JSONDecodeError as error:
        return _syntax(text, error.pos, error.msg), None
    except RecursionError:
        return Entry(number, unit, fault="not JSON: too deeply nested"), None
    return Entry(number, unit, value, faults[0] if faults else ""), end
