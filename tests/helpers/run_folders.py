"""Folders of runs: made quickly, and compared."""

import contextlib
import json

import pytest

from tinygrad_gpt.files import write_atomic


@contextlib.contextmanager
def undrawn_pictures(recipe):
    """In this block a recipe writes what it would draw as text: drawing takes ten times as long as its small runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "draw_curves",
                      lambda path, *args, **settings: write_atomic(path, repr((args, settings)).encode()))
        yield


def log_of(folder):
    """The log without the clock."""
    return [{**json.loads(line), "seconds": 0} for line in (folder / "log.jsonl").read_text().splitlines()]


def assert_same_run(folder, other):
    assert {path.name for path in folder.iterdir()} == {path.name for path in other.iterdir()}
    for path in other.iterdir():
        if path.name not in ("log.jsonl", "state-a.h5", "state-b.h5"):
            assert (folder / path.name).read_bytes() == path.read_bytes(), path.name
    states = [{path.read_bytes() for path in sorted(part.glob("state-*"))} for part in (folder, other)]
    assert states[0] & states[1]  # the last; the one before may be of a step at which only one was stopped
    assert log_of(folder) == log_of(other)
