"""Excel workbooks are read as tables; what is wrong with one is said in one line."""

import datetime
import io
import zipfile

import numpy as np
import pytest

from tinygrad_gpt.data.classification import read_labelled
from tinygrad_gpt.data.tables import open_table, read_table
from tinygrad_gpt.data.texts import open_texts
from tinygrad_gpt.errors import DataError

openpyxl = pytest.importorskip("openpyxl", reason="the extra `files` is not installed")

ROWS = [("text", "label"), ("für 1, \"x\"\n zwei", "ja"), ("b", "nein"), ("c", "ja")]


def workbook(path, rows=ROWS, edit=lambda book: None):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    edit(book)
    book.save(path)
    return path


def edited(path, name, change):
    """The same archive with one file of it changed."""
    with zipfile.ZipFile(path) as archive:
        files = {info.filename: archive.read(info) for info in archive.infolist()}
    files[name] = change(files[name])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for each, data in files.items():
            archive.writestr(each, data)


def test_texts_and_labels_of_a_sheet(tmp_path):
    data = read_labelled(workbook(tmp_path / "a.xlsx"))
    assert data.texts == ["für 1, \"x\"\n zwei", "b", "c"]
    assert [data.classes[k] for k in data.labels] == ["ja", "nein", "ja"]
    assert str(data.counts) == "4 lines read, 3 records, 0 skipped (1 header)"


def test_blank_rows_other_sheets_and_wider_headers(tmp_path):
    def edit(book):
        book.create_sheet("other").append(["ignored"])

    rows = [("text", "label", "note"), ("a", "x"), (), ("b", "y", "n"), (None, None)]
    data = read_labelled(workbook(tmp_path / "a.xlsx", rows, edit))
    assert data.texts == ["a", "b"]
    assert str(data.counts) == "5 lines read, 2 records, 0 skipped (1 header, 2 blank, 1 more sheets not read)"


def test_numbers_and_truth_values_are_labels_as_they_are_spelled(tmp_path):
    rows = [("text", "rating", "x"), ("a", 1, True), (712, 2.5, False), ("c", 1, True)]
    path = workbook(tmp_path / "a.xlsx", rows)
    data = read_labelled(path)
    assert (data.texts, sorted(data.classes)) == (["a", "712", "c"], ["1", "2.5"])
    assert sorted(read_labelled(path, "text", "x").classes) == ["false", "true"]


def test_a_sheet_without_header_and_with_a_wrong_dimension(tmp_path):
    path = workbook(tmp_path / "a.xlsx", ROWS[1:])
    edited(path, "xl/worksheets/sheet1.xml", lambda xml: xml.replace(b'ref="A1:B3"', b'ref="A1"'))
    assert [cells for _, cells in read_table(path).rows] == [list(row) for row in ROWS[1:]]
    with open_texts(path, "1") as rows:
        assert list(rows) == [row[0] for row in ROWS[1:]]


def test_rows_come_one_after_the_other(tmp_path):
    path = workbook(tmp_path / "a.xlsx", [("text",), *((f"text {i}",) for i in range(3000))])
    with open_table(path) as table:
        assert table.counts.lines == 1
        assert sum(1 for _ in table.rest) == 3000


def damaged(path):
    path.write_bytes(workbook(path).read_bytes()[:-900])


def entities(path):
    """A sheet whose entities grow to 10^9 characters."""
    workbook(path)
    lol = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10 if i else "lol"}">' for i in range(10))
    edited(path, "xl/worksheets/sheet1.xml", lambda xml: (
        f"<!DOCTYPE x [{lol}]>".encode() + xml.replace(b"<t>b</t>", b"<t>&l9;</t>")))


def bomb(path):
    workbook(path)
    edited(path, "xl/worksheets/sheet1.xml", lambda xml: xml.replace(b"</sheetData>", b" " * 2**27 + b"</sheetData>"))


def merged(path):
    workbook(path, [*ROWS, ("d", "ja"), ("e", "ja")], lambda book: book.active.merge_cells("B5:B6"))


def charts_only(path):
    def edit(book):
        book.create_chartsheet()
        book.remove(book.worksheets[0])

    workbook(path, [], edit)


def archive(path):
    with zipfile.ZipFile(path, "w") as written:
        written.writestr("word/document.xml", "<a/>")


BAD = {  # what is wrong: how to make the file, and part of the line
    "absent": (lambda path: None, "no such file"),
    "a folder": (lambda path: path.mkdir(), "is a directory"),
    "empty": (lambda path: path.write_bytes(b""), "is not a zip file"),
    "a text": (lambda path: path.write_text("text,label\n"), "is not a zip file"),
    "truncated": (damaged, "the compressed file is damaged"),
    "flipped": (lambda path: path.write_bytes(workbook(path).read_bytes().replace(b"sheet1", b"sheetX")), "(a.xlsx)"),
    "with a password": (lambda path: path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), "it has a password"),
    "another archive": (archive, "it is no workbook that openpyxl reads"),
    "without cells": (charts_only, "it is no workbook that openpyxl reads"),
    "an empty sheet": (lambda path: workbook(path, []), "no rows (a.xlsx)"),
    "only a header": (lambda path: workbook(path, ROWS[:1]), "0 class (a.xlsx)"),
    "no text column": (lambda path: workbook(path, [("a", "b", "c")] * 3), "the first row is 'a', 'b', 'c'"),
    "merged cells": (merged, "line 6, column 2): the label is missing, not a string"),
    "a date as a label": (lambda path: workbook(path, [*ROWS, ("d", datetime.date(2024, 5, 1))]),
                          "line 5, column 2): the label is a date, not a string"),
    "a date as a text": (lambda path: workbook(path, [*ROWS, (datetime.datetime(2024, 5, 1, 2), "ja")]),
                         "line 5, column 1): the text is a date, not a string"),
    "a time as a text": (lambda path: workbook(path, [*ROWS, (datetime.time(2, 3), "ja")]), "the text is a time"),
    "an error as a text": (lambda path: workbook(path, [*ROWS, ("#N/A", "ja")]), "the text is an error of Excel"),
    "a formula without value": (lambda path: workbook(path, [*ROWS, ("=A1", "ja")]), "the text is missing"),
    "a longer row": (lambda path: workbook(path, [*ROWS, ("d", "ja", "x")]), "3 cells, but the first row has 2"),
    "one class": (lambda path: workbook(path, [ROWS[0], ("a", 1), ("b", 1)]), "1 class (a.xlsx)"),
    "a bomb": (bomb, "it is more than 100 times as large"),
    "growing entities": (entities, "(a.xlsx)"),
    "broken XML": (lambda path: (workbook(path), edited(path, "xl/worksheets/sheet1.xml", lambda xml: xml[:-40])),
                   "it is no workbook that openpyxl reads (ParseError"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_workbooks_are_refused_in_one_line(kind, tmp_path, monkeypatch):
    make, why = BAD[kind]
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "a.xlsx")
    with pytest.raises(DataError) as refused:
        read_labelled("a.xlsx")
    line = str(refused.value)
    assert why in line
    assert "a.xlsx" in line
    assert len(line) <= 233
    assert "\n" not in line


def test_without_openpyxl_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"openpyxl is not installed; pip install '\.\[files\]'"):
        read_table(tmp_path / "a.xlsx")


def test_flipped_bytes_raise_nothing_else(tmp_path):
    image = bytearray(workbook(tmp_path / "a.xlsx").read_bytes())
    generator, refused = np.random.default_rng(0), 0
    for _ in range(60):
        broken = image.copy()
        for at in generator.integers(0, len(broken), 8):
            broken[at] = generator.integers(256)
        (tmp_path / "b.xlsx").write_bytes(broken)
        try:
            read_table(tmp_path / "b.xlsx")
        except DataError:
            refused += 1
    assert refused > 20


def test_a_workbook_of_bytes_is_named(tmp_path):
    with pytest.raises(DataError, match="it is a zip archive, an Excel or a Word file"):
        read_table(io.BytesIO(workbook(tmp_path / "a.xlsx").read_bytes()))
