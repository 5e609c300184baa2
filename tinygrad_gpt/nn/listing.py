"""A module as text, laid out as PyTorch prints it."""

import itertools
from collections.abc import Iterable

__all__ = ["listing", "merged"]


def listing(name: str, settings: str, children: Iterable[tuple[str, str]]) -> str:
    """A module with one line for each module below it, indented.

    Args:
        name: of its class.
        settings: its sizes and options, "" for none.
        children: the names and listings of the modules directly below.
    """
    lines = [f"({key}): {text}" for key, text in children]
    if not lines:
        return f"{name}({settings})"
    body = "\n".join([settings, *lines] if settings else lines)
    return f"{name}(\n  " + body.replace("\n", "\n  ") + "\n)"


def merged(children: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Neighbours that have the same listing as one, such as "(0-11): 12 x Block(…"."""
    result = []
    for text, group in itertools.groupby(children, key=lambda pair: pair[1]):
        keys = [key for key, _ in group]
        result.append((keys[0], text) if len(keys) == 1 else (f"{keys[0]}-{keys[-1]}", f"{len(keys)} x {text}"))
    return result
