"""Instructions with two responses, of which one is preferred."""

from dataclasses import dataclass
from pathlib import Path

from tinygrad_gpt.data.instructions import Entries, Instruction, read_records

__all__ = ["Preference", "read_preferences"]


@dataclass(frozen=True)
class Preference(Instruction):
    """An instruction with a response to come closer to, and one to go away from; ``output`` may be empty."""

    chosen: str
    rejected: str


def read_preferences(path: str | Path, *, skip_malformed: bool = False) -> Entries[Preference]:
    """Read all entries: "instruction", "chosen", "rejected", and perhaps "input" and "output".

    Args:
        path, skip_malformed: as in `read_instructions`.

    Raises:
        DataError: as `read_instructions`.
    """
    required, optional = ("instruction", "chosen", "rejected"), ("input", "output")
    return read_records(path, Preference, required, optional, skip_malformed)
