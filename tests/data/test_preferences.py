"""Preference data: what an entry has, and the file of the book."""

import json

import pytest

from tinygrad_gpt.data.instructions import split_in_order
from tinygrad_gpt.data.preferences import Preference, read_preferences
from tinygrad_gpt.errors import DataError


def write(path, entries):
    path.write_text(json.dumps(entries), encoding="utf-8")
    return path


def test_entries_and_what_they_lack(tmp_path):
    pair = {"instruction": "Greet.", "chosen": "Hello.", "rejected": "What?"}
    assert read_preferences(write(tmp_path / "a.json", [pair])) == [
        Preference("Greet.", "", "", "Hello.", "What?")]
    with pytest.raises(DataError, match=r'entry 1\): it has no "rejected"'):
        read_preferences(write(tmp_path / "b.json", [{"instruction": "x", "chosen": "y"}]))


def test_the_preferences_of_the_reference(shared_data):
    pairs = read_preferences(shared_data / "instruct" / "instruction-data-with-preference.json")
    parts = split_in_order(pairs)
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (935, 55, 110)
    assert pairs[50].rejected == "The correct spelling is obviously 'Occasion.'"
    assert pairs[50].chosen == pairs[50].output == "The correct spelling is 'Occasion.'"
