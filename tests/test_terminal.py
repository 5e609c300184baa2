"""Cells below each other, whatever their characters take on a terminal."""

import pytest

from tinygrad_gpt.terminal import aligned, width

WIDE = "\u65e5\u672c"  # two characters of two columns each


@pytest.mark.parametrize(("text", "columns"), [
    ("", 0), ("word", 4), (WIDE, 4), ("\uff21", 2), ("e\u0301", 1), ("y\u0304 = x\u0302", 5)])
def test_width(text, columns):
    assert width(text) == columns


def test_each_column_has_its_side():
    assert aligned([("class", "F1", "note"), ("a", "0.25", ""), (WIDE, "1", "x\u0302")], "<><") == [
        "class    F1  note", "a      0.25", f"{WIDE}      1  x\u0302"]
    assert aligned([("a", "b"), ("long", "longer")], "><") == ["   a  b", "long  longer"]


def test_rows_of_different_length_are_refused():
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        aligned([("a", "b"), ("a",)], "<<")
