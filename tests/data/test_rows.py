"""The line that says where every line of a file went, and the rows of a table."""

import pytest

from tinygrad_gpt.data.rows import Counts, Table
from tinygrad_gpt.errors import DataError


def test_counts_say_where_every_line_went():
    assert str(Counts(lines=5574, records=5574)) == "5,574 lines read, 5,574 records, 0 skipped"
    assert str(Counts(9, 4, 1, 1, 1, 2, 1, 3)) == (
        "9 lines read, 4 records, 1 skipped (1 header, 1 blank, 2 inside quoted cells, "
        "1 cells begin and end with a quote, which was kept, 3 more sheets not read)")


def test_a_malformed_row_is_refused_by_its_place_or_counted():
    with pytest.raises(DataError, match=r"malformed row \(a.csv, line 7, column 3\): odd; correct it, or skip"):
        Table("a.csv", skip_malformed=False).malformed(7, 3, "odd")
    table = Table("a.csv", skip_malformed=True)
    table.malformed(7, 3, "odd")
    assert table.counts.skipped == 1


def test_the_header_is_taken_and_the_rest_follows():
    table = Table("a.xlsx", False, rows=[(1, [" text ", None, 7])], rest=iter([(2, ["a", "b", "c"])]))
    assert table.take_header() == ["text", "", "7"]
    assert list(table.all_rows()) == [(2, ["a", "b", "c"])]
    assert table.share() is None
