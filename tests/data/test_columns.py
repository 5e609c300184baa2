"""The right columns are found, or the question is put to the user."""

import pytest

from tinygrad_gpt.data.columns import find_text, find_text_and_label
from tinygrad_gpt.data.rows import Table
from tinygrad_gpt.errors import DataError, UsageError

SMS = [["ham", "Go until"], ["ham", "Ok lar"], ["spam", "Free entry"], ["ham", "U dun"]]


def table(*rows, names=None):
    return Table("a.csv", False, names, [(number, list(row)) for number, row in enumerate(rows, start=1)])


@pytest.mark.parametrize(
    ("header", "given", "found"),
    [
        (["text", "label"], (None, None), (0, 1)),
        (["Category", " Message "], (None, None), (1, 0)),
        (["text", "label", "rating", "id"], (None, None), (0, 1)),
        (["sms", "class"], (None, None), (0, 1)),
        (["x", "y"], ("y", "x"), (1, 0)),
        (["text", "y"], (None, "Y"), (0, 1)),
        (["text", "title", "label"], ("title", None), (1, 2)),
        (["tweet", "mood"], (None, None), (0, 1)),
        (["what", "topic"], (None, None), (0, 1)),
    ],
)
def test_named_columns(header, given, found):
    rows = table(header, *([["v"] * len(header)] * 2))
    assert find_text_and_label(rows, *given) == found
    assert len(rows.rows) == 2
    assert rows.counts.header == 1


@pytest.mark.parametrize(
    ("given", "found"), [((None, None), (1, 0)), (("2", "1"), (1, 0)), (("2", None), (1, 0)), ((None, "1"), (1, 0))])
def test_files_without_header(given, found):
    rows = table(*SMS)
    assert find_text_and_label(rows, *given) == found
    assert len(rows.rows) == 4
    assert rows.counts.header == 0


def test_json_lines_have_names_and_no_header():
    rows = table(["a", "b"], names=["label", "text"])
    assert find_text_and_label(rows, None, None) == (1, 0)
    assert len(rows.rows) == 1
    assert find_text_and_label(table(["a", "b"], names=["1", "2"]), "2", "1") == (1, 0)


@pytest.mark.parametrize(
    ("header", "given", "message"),
    [
        (["review", "comment", "label"], (None, None), "2 text columns"),
        (["text", "category", "rating"], (None, None), "2 label columns"),
        (["text", "text", "label"], (None, None), "2 text columns"),
        (["a", "b", "c"], (None, None), "the first row is 'a', 'b', 'c'"),
        (["phrase", "mood"], (None, None), "the first row is 'phrase', 'mood'"),
        (["text", "label"], ("body", None), "no text column 'body'"),
        (["text", "label"], ("text", "text"), "both are column 1"),
        (["text", "label"], ("1", "1"), "both are column 1"),
        (["text", "label"], ("0", "1"), "column 0 .*columns 1 to 2"),
        (["text", "label"], ("1", "3"), "column 3 .*columns 1 to 2"),
        (["a", "b", "c"], ("1", None), "give text and label"),
        (["x" * 100, "b", "c"], (None, None), "'x{29}…'"),
    ],
)
def test_ambiguous_or_absent_columns_are_refused(header, given, message):
    rows = table(header, *[[f"{n}{c}" for c in range(len(header))] for n in range(3)])
    with pytest.raises(DataError, match=message):
        find_text_and_label(rows, *given)


def test_a_name_and_a_number_do_not_go_together():
    with pytest.raises(UsageError, match="one is a name and one a number"):
        find_text_and_label(table(*SMS), "2", "label")


def test_two_columns_that_repeat_alike_are_refused():
    with pytest.raises(DataError, match="tells neither"):
        find_text_and_label(table(["a", "b"], ["a", "b"], ["c", "d"]), None, None)


@pytest.mark.parametrize(("given", "found", "left"), [(None, 1, 1), ("text", 1, 1), ("id", 0, 1), ("2", 1, 2)])
def test_texts_alone(given, found, left):
    rows = table(["id", "text"], ["7", "hello"])
    assert find_text(rows, given) == found
    assert len(rows.rows) == left
