"""Text on a terminal and in a notebook: how wide it is, counts, cells in columns, tables as HTML."""

import unicodedata
from collections.abc import Sequence
from html import escape

__all__ = ["Printed", "aligned", "counted", "width"]


class Printed:
    """A base of what prints as a table: a notebook shows the same table."""

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


def counted(number: int, thing: str) -> str:
    """Such as "1 answer" or "2,000 answers"."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def aligned(rows: Sequence[Sequence[str]], align: str) -> list[str]:
    """One line per row, its cells in columns two spaces apart; ``align`` has one of ``<`` and ``>`` per column."""
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(_padded(*cell) for cell in zip(row, widths, align, strict=True)).rstrip() for row in rows]


def width(text: str) -> int:
    """Columns of a terminal that the text takes: two for a wide character of East Asia, none for a combining mark."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else not unicodedata.combining(c) for c in text)


def _padded(cell, wanted, side):
    space = " " * (wanted - width(cell))
    return space + cell if side == ">" else cell + space
