"""Texts are read one after the other, and rows without one are counted."""

import pytest

from tinygrad_gpt.data.texts import cell_fault, open_texts, read_texts
from tinygrad_gpt.errors import DataError


def test_rows_without_text_are_counted_or_left_out(tmp_path):
    (tmp_path / "a.csv").write_text('id,text\n1,a\n2,\n3," "\n4,b\n')
    with open_texts(tmp_path / "a.csv") as rows:
        assert list(rows) == ["a", "", "", "b"]
        assert (rows.missing, rows.first_missing, rows.table.share()) == (2, 3, 1.0)
    with open_texts(tmp_path / "a.csv", skip_malformed=True) as rows:
        assert list(rows) == ["a", "b"]
        assert (rows.missing, rows.table.counts.skipped) == (0, 2)
    with pytest.raises(DataError, match=r"line 3, column 2\): the text is empty"):
        read_texts(tmp_path / "a.csv")


def test_what_is_no_text_is_refused_and_not_taken_for_a_missing_one(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": null}\n{"text": 5}\n')
    with open_texts(tmp_path / "a.jsonl") as rows:
        assert [next(rows), next(rows)] == ["a", ""]
        with pytest.raises(DataError, match=r"line 3, column 1\): the text is a number, not a string"):
            next(rows)


@pytest.mark.parametrize(("cell", "fault"), [
    ("a", ""), (None, "is missing"), (True, "is true or false"), (["a"], "is a list"), ({}, "is an object"),
    (b"a", "is bytes"), ("a\0", "NUL"), ("\ud800", "half a surrogate pair"), (" ", "is empty"), (1.5, "is a float")])
def test_faults_of_cells(cell, fault):
    assert fault in cell_fault(cell, "text")
    assert bool(cell_fault(cell, "text")) == bool(fault)
