"""Every line of a file is a record or accounted for, and every malformed row has a place."""

import csv

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygrad_gpt.data.rows import Counts
from tinygrad_gpt.data.tables import read_table, table_format
from tinygrad_gpt.errors import DataError


def table(tmp_path, name, data, **options):
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return read_table(path, **options)


def rows(*args, **options):
    return table(*args, **options).rows


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.csv", "csv"), ("a.CSV", "csv"), ("a.csv.xz", "csv"), ("a.tsv.gz", "tsv"), ("SMSSpamCollection", "tsv"),
     ("a.txt", "tsv"), ("a.jsonl", "jsonl"), ("a.ndjson", "jsonl")],
)
def test_the_extension_says_the_format(name, kind):
    assert table_format(name) == kind


@pytest.mark.parametrize("name", ["a.xls", "a.yaml", "a.ods"])
def test_other_extensions_are_refused(name):
    with pytest.raises(DataError, match=r"use \.csv, \.tsv, \.jsonl, \.xlsx or \.parquet"):
        table_format(name)


def test_tsv_has_no_quoting(tmp_path):
    read = rows(tmp_path, "a", 'ham\t"unclosed\nspam\tsay ""x""\n')
    assert read == [(1, ["ham", '"unclosed']), (2, ["spam", 'say ""x""'])]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_line_ends(tmp_path, end, last):
    for name, cells in [("a.tsv", ["a\tb", "c\td"]), ("a.csv", ["a,b", 'c,"d"'])]:
        read = table(tmp_path, name, end.join(cells) + (end if last else ""))
        assert read.rows == [(1, ["a", "b"]), (2, ["c", "d"])]
        assert read.counts.lines == 2


def test_only_real_line_ends_end_a_line(tmp_path):
    text = "a\tx\x85y\u2028z\x0bv\x0cw\x1cu"
    assert rows(tmp_path, "a.tsv", text) == [(1, text.split("\t"))]


def test_quoted_cells_may_span_lines(tmp_path):
    read = table(tmp_path, "a.csv", 'a,"one\r\ntwo"\nb,"say ""x"""\n\nc,d\n')
    assert read.rows == [(1, ["a", "one\r\ntwo"]), (3, ["b", 'say "x"']), (5, ["c", "d"])]
    assert (read.counts.lines, read.counts.blank, read.counts.continued) == (5, 1, 1)


def test_json_lines(tmp_path):
    read = table(tmp_path, "a.jsonl", '{"text": "a", "n": 1}\n \n{"n": null, "x": 0, "text": "é"}\n{"text": "b"}\n')
    assert read.names == ["text", "n"]
    assert read.rows == [(1, ["a", "1"]), (3, ["é", None]), (4, ["b", None])]
    assert (read.counts.lines, read.counts.blank) == (4, 1)


@pytest.mark.parametrize(("name", "separator"), [(f"a.{e}", c) for e in ("csv", "tsv", "txt") for c in ",;\t|"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_the_separator_is_found(tmp_path, name, separator, start):
    lines = ["label;text", "ham;hello you", 'spam;"a ""b"""', "ham;x"]
    read = table(tmp_path, name, start + "\n".join(lines).replace(";", separator))
    expected = [["label", "text"], ["ham", "hello you"], ["spam", 'a "b"'], ["ham", "x"]]
    assert [cells for _, cells in read.rows] == expected


def test_a_first_line_may_name_the_separator(tmp_path):
    read = table(tmp_path, "a.csv", "sep=;\r\nlabel;text\r\nham;a, b\r\n")
    assert read.rows == [(2, ["label", "text"]), (3, ["ham", "a, b"])]
    assert (read.counts.lines, read.counts.header) == (3, 1)


def test_quoted_tsv_is_told_from_tsv_with_quotes(tmp_path):
    text = 'ham\t"he said ""yes"""\nspam\t"two\nlines\tand a tab"\n'
    assert rows(tmp_path, "a.tsv", text) == [(1, ["ham", 'he said "yes"']), (2, ["spam", "two\nlines\tand a tab"])]
    kept = table(tmp_path, "a.tsv", 'ham\t"hello"\nspam\t"open\n')
    assert kept.rows == [(1, ["ham", '"hello"']), (2, ["spam", '"open'])]
    assert str(kept.counts).endswith("(1 cells begin and end with a quote, which was kept)")
    raw = 'ham\t"he said ""yes"""\nspam\t"open\n'
    assert rows(tmp_path, "a.tsv", raw) == [(1, ["ham", '"he said ""yes"""']), (2, ["spam", '"open'])]


def test_lines_below_a_named_separator_keep_their_numbers(tmp_path):
    named = table(tmp_path, "a.csv", 'sep=;\nlabel;text\nham;"a\nb"\n\nspam;c\n')
    assert [line for line, _ in named.rows] == [2, 3, 6]
    assert str(named.counts) == "6 lines read, 0 records, 0 skipped (1 header, 1 blank, 1 inside quoted cells)"
    for text, place in (('sep=;\nlabel;text\nham;a\nspam;"b"x\nham;c\n', "line 4, column 1"),
                        ('sep=;\nlabel;text\nham;a\nspam;"b\n', "line 4"),
                        ("sep=;\nlabel;text\nham;a;b\nspam;c\n", "line 3, column 3")):
        with pytest.raises(DataError) as caught:
            table(tmp_path, "a.csv", text)
        assert f"a.csv, {place})" in str(caught.value)


def test_a_quote_that_is_never_closed_is_named_in_tsv_with_quotes_too(tmp_path):
    for end in ("", "spam\tb\nham\tc\n"):
        with pytest.raises(DataError, match=r"a.tsv, line 2\): a quote is never closed; close or double it"):
            table(tmp_path, "a.tsv", 'label\ttext\nham\t"open\n' + end, quotes=True)
    fine = table(tmp_path, "a.tsv", 'ham\t5" of "snow"\nspam\t"a" b\n', quotes=True)
    assert [cells for _, cells in fine.rows] == [["ham", '5" of "snow"'], ["spam", "a b"]]


MALFORMED = [
    ("a.csv", "a,b\nc\nd,e\n", "line 2, column 2", "1 cells, but the first row has 2"),
    ("a.csv", "a,b\nc,d,e\nf,g\n", "line 2, column 3", "3 cells, but the first row has 2"),
    ("a.csv", 'a,b\n"c"x,d\ne,f\n', "line 2, column 1", "',' expected after '\"'"),
    ("a.tsv", "a\tb\nc\td\te\nf\tg\n", "line 2, column 3", "3 cells"),
    ("a.jsonl", '{"a": 1}\n{"a": 1,}\n{"a": 2}\n', "line 2, column 9", "not JSON"),
    ("a.jsonl", '{"a": 1}\n[1]\n{"a": 2}\n', "line 2, column 1", "not list"),
    ("a.jsonl", '{"a": 1}\n' + "[" * 100_000 + '\n{"a": 2}\n', "line 2, column 1", "not JSON"),
]


@pytest.mark.parametrize(("name", "data", "place", "why"), MALFORMED)
def test_malformed_rows_are_named_or_skipped(tmp_path, name, data, place, why):
    with pytest.raises(DataError) as caught:
        table(tmp_path, name, data)
    assert str(caught.value).startswith(f"malformed row ({tmp_path / name}, {place}): ")
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
    read = table(tmp_path, name, data, skip_malformed=True)
    assert [line for line, _ in read.rows] == [1, 3]
    assert (read.counts.lines, read.counts.skipped) == (3, 1)


@pytest.mark.parametrize("data", ['a,b\nc,"d\ne,f\n', 'a,"' + "x" * 200_000])
@pytest.mark.parametrize("skip_malformed", [False, True])
def test_an_unclosed_quote_is_never_skipped_as_it_swallows_the_rest(tmp_path, data, skip_malformed):
    with pytest.raises(DataError, match=r"line [12]\): a quote is never closed"):
        table(tmp_path, "a.csv", data, skip_malformed=skip_malformed)


@pytest.mark.parametrize("cell", ["x" * 200_000, '"' + "x,\n" * 100_000 + '"'])
def test_cells_may_be_of_any_length(tmp_path, cell):
    limit = csv.field_size_limit()
    read = rows(tmp_path, "a.csv", f"a,{cell}\nb,c\n")
    assert [cells for _, cells in read] == [["a", cell.strip('"')], ["b", "c"]]
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
@pytest.mark.parametrize("data", ["", "\n\n", "\ufeff"])
def test_files_without_rows_are_refused(tmp_path, name, data):
    with pytest.raises(DataError, match="no rows"):
        table(tmp_path, name, data)


def test_counts_are_printed_with_what_else_there_was():
    assert str(Counts(lines=5574, records=5574)) == "5,574 lines read, 5,574 records, 0 skipped"
    counts = Counts(lines=10, records=3, skipped=1, header=1, blank=2, continued=3)
    assert str(counts) == "10 lines read, 3 records, 1 skipped (1 header, 2 blank, 3 inside quoted cells)"


@settings(max_examples=200, deadline=None)
@given(data=st.text(alphabet='ab,"\t\n\r {}:1\0é', max_size=60), name=st.sampled_from(["a.csv", "a.tsv", "a.jsonl"]))
def test_any_text_is_read_or_refused_and_every_line_is_accounted_for(tmp_path_factory, data, name):
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(data.encode())
    try:
        read = read_table(path, skip_malformed=True)
    except DataError as error:
        message = str(error)
        read = None
    if read is None:
        assert "\n" not in message
    else:
        counts = read.counts
        assert counts.lines == len(read.rows) + counts.skipped + counts.blank + counts.continued
