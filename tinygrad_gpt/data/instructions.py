"""Instructions with the responses that a model shall learn, from files in the form of the Alpaca data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from tinygrad_gpt.data.compressed import plain_name
from tinygrad_gpt.data.json_entries import read_entries
from tinygrad_gpt.data.text_files import read_text
from tinygrad_gpt.errors import DataError

__all__ = ["IGNORED", "Entries", "Instruction", "Parts", "collate", "read_instructions", "read_records",
           "split_in_order"]

IGNORED = -100  # the target of a position that does not count; `ops.cross_entropy` leaves it out
NAMES = {"instruction": ("prompt", "question", "query"), "input": ("context",),
         "output": ("response", "completion", "answer")}  # what other data call the same
FEWEST = 10  # entries of which each part gets one


@dataclass(frozen=True)
class Instruction:
    """One entry: what to do, on what (often nothing), and a good response."""

    instruction: str
    input: str
    output: str


Entry = TypeVar("Entry", bound=Instruction)


class Entries(list[Entry]):
    """What a file holds: ``skipped`` counts its malformed entries, ``unread`` are the keys that do not matter."""

    skipped = 0
    unread: tuple[str, ...] = ()


@dataclass(frozen=True)
class Parts(Generic[Entry]):
    """Entries for each purpose, in the order of the file."""

    train: list[Entry]
    validation: list[Entry]
    test: list[Entry]
    unread: tuple[str, ...] = ()
    skipped: int = 0

    def __str__(self) -> str:
        """`935 training, 55 validation, 110 test entries`, and how many of them are in the training part as well."""
        known = {(entry.instruction, entry.input) for entry in self.train}
        again = sum((entry.instruction, entry.input) in known for entry in [*self.validation, *self.test])
        return (f"{len(self.train):,} training, {len(self.validation):,} validation, {len(self.test):,} test entries, "
                f"{again:,} of which are in the training part as well"
                + (f"; {self.skipped:,} malformed entries skipped" if self.skipped else "")
                + (f"; keys not read: {', '.join(map(repr, self.unread[:8]))}" if self.unread else ""))


def read_instructions(path: str | Path, *, skip_malformed: bool = False) -> Entries[Instruction]:
    """Read all entries; keys are "instruction", "input" (may be absent) and "output", or those of `NAMES`.

    An entry may also be a chat of one turn, under "messages". Other keys do not matter.

    Args:
        path: a .json or .jsonl file with a list of objects, one object a line, or one behind the other; may be
            compressed.
        skip_malformed: count malformed entries instead of refusing the file.

    Raises:
        DataError: `malformed entry (tasks.json, entry 3): it has no "output"; …`, and as `read_text`.
    """
    return read_records(path, Instruction, ("instruction", "output"), ("input",), skip_malformed)


def read_records(path: str | Path, kind: type[Entry], required: Sequence[str], optional: Sequence[str],
                 skip_malformed: bool) -> Entries[Entry]:
    """Entries made of the strings under these keys in a file; an optional one that is absent is empty.

    Raises:
        DataError: as `read_instructions`.
    """
    text, name = read_text(path)
    ending = Path(plain_name(path)).suffix.lower()
    if ending not in (".json", ".jsonl", ".ndjson"):
        raise DataError(f"cannot read ({path}): unknown extension; use .json with a list, or .jsonl")
    records, unread = Entries[Entry](), dict[str, None]()
    for entry in read_entries(text, ending != ".json"):
        where = f"{name}, {entry.unit} {entry.line}"
        try:
            if entry.fault:
                where += f", column {entry.column}" if entry.column > 1 else ""
                raise DataError(f"malformed entry ({where}): {entry.fault}; correct it, or skip malformed entries")
            records.append(kind(**_checked(where, entry.value, required, optional)))
        except DataError:
            if not skip_malformed:
                raise
            records.skipped += 1
        else:
            known = {*required, *optional, "messages", *(key for names in NAMES.values() for key in names)}
            unread |= dict.fromkeys(key for key in entry.value if key not in known)
    if not records:
        raise DataError(f"no entries ({name}): the file has none; give one with instructions and outputs")
    records.unread = tuple(unread)
    return records


def _checked(where: str, entry: Any, required: Sequence[str], optional: Sequence[str]) -> dict[str, str]:
    def refusal(why):
        return DataError(f"malformed entry ({where}): {why}; correct or remove it, or skip malformed entries")

    if not isinstance(entry, dict):
        raise refusal(f"a JSON object is expected, not {_kind(entry)}")
    entry = _renamed(entry, refusal)
    for key in (*required, *optional):
        value = entry.get(key)
        if value is None and key in required:
            raise refusal(f'it has no "{key}"; its keys are {", ".join(map(repr, list(entry)[:8]))}')
        if value is not None and type(value) is not str:
            raise refusal(f'its "{key}" is {_kind(value)}, not a string')
        if value is not None and key in required and not value.strip():
            raise refusal(f'its "{key}" is empty')
    return {key: entry.get(key) or "" for key in (*required, *optional)}


def _renamed(entry: dict[str, Any], refusal: Callable[[str], DataError]) -> dict[str, Any]:
    """An entry under the names of the Alpaca data: other data have other names, or one turn of a chat."""
    renamed = dict(entry)
    if "messages" in entry and "instruction" not in entry:
        renamed |= _of_chat(entry["messages"], refusal)
    for key, others in NAMES.items():
        given = [name for name in (key, *others) if entry.get(name) not in (None, "")]
        if len(given) > 1:
            raise refusal(f'it has both "{given[0]}" and "{given[1]}"')
        if given:
            renamed[key] = entry[given[0]]
        elif empty := [name for name in others if name in entry]:
            renamed.setdefault(key, entry[empty[0]])
    return renamed


def _of_chat(messages: Any, refusal: Callable[[str], DataError]) -> dict[str, Any]:
    turns = messages if isinstance(messages, list) else []
    if [turn.get("role") if isinstance(turn, dict) else None for turn in turns] != ["user", "assistant"]:
        raise refusal('its "messages" are not one of the user and one of the assistant')
    return {"instruction": turns[0].get("content"), "output": turns[1].get("content")}


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")


def split_in_order(entries: Sequence[Entry], name: str | Path = "data") -> Parts[Entry]:
    """The first 85 % for training, the next 10 % to test, the rest to validate.

    Raises:
        DataError: fewer than 10 entries.

    Source: S. Raschka, *Build a Large Language Model (From Scratch)*, section 7.2.
    """
    if len(entries) < FEWEST:
        raise DataError(f"too few entries ({name}): {len(entries)}; give {FEWEST} or more, so that each part has one")
    end, last = int(len(entries) * 0.85), int(len(entries) * 0.85) + int(len(entries) * 0.1)
    return Parts(list(entries[:end]), list(entries[last:]), list(entries[end:last]),
                 getattr(entries, "unread", ()), getattr(entries, "skipped", 0))


def collate(texts: Sequence[Sequence[int]], eot_id: int, n_ctx: int,
            masked: Sequence[int] | None = None, least: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """One batch: each text with the end-of-text token behind it, padded with more of those, and its next tokens.

    Args:
        texts: token ids, none empty.
        eot_id: the first one behind a text counts, the others do not.
        n_ctx: longest row; the rest is cut off.
        masked: tokens at the beginning of each text that need not be predicted: its prompt.
        least: shortest row.

    Returns:
        ids (B, T) and targets (B, T), int64, −100 where nothing counts.

    Source: S. Raschka, *Build a Large Language Model (From Scratch)*, section 7.3.
    """
    width = min(max(least, *map(len, texts)), n_ctx)
    ids = np.full((len(texts), width), eot_id, np.int64)
    targets = np.full((len(texts), width), IGNORED, np.int64)
    for row, text in enumerate(texts):
        ended = [*text, eot_id][:width + 1]
        ids[row, :len(ended)] = ended[:width]
        targets[row, :len(ended) - 1] = ended[1:]
        if masked is not None:
            targets[row, :max(0, masked[row] - 1)] = IGNORED
    return ids, targets
