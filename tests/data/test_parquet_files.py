"""Parquet files are read as tables; what is wrong with one is said in one line."""

import datetime

import numpy as np
import pytest

from tinygrad_gpt.data.classification import read_labelled
from tinygrad_gpt.data.tables import open_table, read_table
from tinygrad_gpt.data.texts import open_texts
from tinygrad_gpt.errors import DataError

pyarrow = pytest.importorskip("pyarrow", reason="the extra `files` is not installed")
parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `files` is not installed")

TEXTS, LABELS = ["für\n1", "b", "c"], ["ja", "nein", "ja"]


def table(path, compression="snappy", **columns):
    parquet.write_table(pyarrow.table(columns or {"text": TEXTS, "label": LABELS}), path, compression=compression)
    return path


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd"])
def test_texts_and_labels(compression, tmp_path):
    data = read_labelled(table(tmp_path / "a.parquet", compression))
    assert (data.texts, [data.classes[k] for k in data.labels]) == (TEXTS, LABELS)
    assert str(data.counts) == "3 lines read, 3 records, 0 skipped"


@pytest.mark.parametrize("labels", [[1, 2, 1], [1.5, 2.0, 1.5], [True, False, True]])
def test_labels_that_are_no_text_are_spelled(labels, tmp_path):
    data = read_labelled(table(tmp_path / "a.parquet", text=TEXTS, label=labels))
    assert [data.classes[k] for k in data.labels] == [str(label).lower() for label in labels]


def test_categories_and_large_strings(tmp_path):
    data = read_labelled(table(tmp_path / "a.parquet", text=pyarrow.array(TEXTS, pyarrow.large_string()),
                               label=pyarrow.array(LABELS).dictionary_encode()))
    assert (data.texts, data.classes[data.labels[0]]) == (TEXTS, "ja")


def test_columns_that_are_not_asked_for_are_not_read(tmp_path, monkeypatch):
    path = table(tmp_path / "a.parquet", text=TEXTS, label=LABELS, vector=[[1.0] * 9] * 3)
    asked = []
    read = parquet.ParquetFile.iter_batches
    monkeypatch.setattr(parquet.ParquetFile, "iter_batches",
                        lambda file, rows, columns: asked.append(columns) or read(file, rows, columns=columns))
    with open_texts(path) as rows:
        assert list(rows) == TEXTS
    assert asked == [["text"]]


def test_rows_come_one_after_the_other(tmp_path):
    path = table(tmp_path / "a.parquet", text=[f"text {i}" for i in range(5000)])
    with open_table(path) as opened:
        assert (opened.rows, opened.names) == ([], ["text"])
        next(opened.rest)
        assert opened.share() == 1 / 5000
        assert sum(1 for _ in opened.rest) == 4999


def named(path, **columns):
    table(path, **{"text": TEXTS, "label": LABELS, **columns})


def repeated_name(path):
    made = pyarrow.Table.from_arrays([pyarrow.array(TEXTS)] * 2 + [pyarrow.array(LABELS)], ["text", "text", "label"])
    parquet.write_table(made, path)


BAD = {  # what is wrong: how to make the file, and part of the line
    "absent": (lambda path: None, "no such file"),
    "a folder": (lambda path: path.mkdir(), "is a directory"),
    "empty": (lambda path: path.write_bytes(b""), "it is no Parquet file that pyarrow reads"),
    "a text": (lambda path: path.write_text("text,label\na,b\n"), "it is no Parquet file that pyarrow reads"),
    "truncated": (lambda path: path.write_bytes(table(path).read_bytes()[:-9]), "it is no Parquet file"),
    "without its footer": (lambda path: path.write_bytes(table(path).read_bytes()[:100] + b"PAR1"), "it is no Parquet"),
    "encrypted": (lambda path: path.write_bytes(b"PARE" + bytes(50) + b"PARE"), "it is no Parquet file"),
    "a damaged page": (lambda path: path.write_bytes(b"PAR1" + bytes(60) + table(path).read_bytes()[64:]),
                       "(a.parquet)"),
    "no rows": (lambda path: table(path, text=pyarrow.array([], pyarrow.string())), "no rows (a.parquet)"),
    "no columns": (lambda path: parquet.write_table(pyarrow.table({}), path), "no rows (a.parquet)"),
    "no text column": (lambda path: table(path, a=TEXTS, b=LABELS), "no text column (a.parquet): the columns are 'a'"),
    "two text columns": (repeated_name, "2 text columns (a.parquet)"),
    "numbers as texts": (lambda path: named(path, text=[1, 2, 3]), "line 1, column 1): the text is a number"),
    "dates as texts": (lambda path: named(path, text=[datetime.datetime(2024, 5, 1)] * 3), "the text is a date"),
    "dates as labels": (lambda path: named(path, label=[datetime.date(2024, 5, 1)] * 3), "the label is a date"),
    "bytes as texts": (lambda path: named(path, text=[b"a", b"b", b"c"]), "the text is bytes, not a string"),
    "nested texts": (lambda path: named(path, text=[["a"], ["b"], ["c"]]), "the text is a list, not a string"),
    "structs as texts": (lambda path: named(path, text=[{"de": "a"}] * 3), "the text is an object, not a string"),
    "lists as labels": (lambda path: named(path, label=[["a"], ["b"], []]), "the label is a list"),
    "a missing label": (lambda path: named(path, label=["a", None, "b"]), "line 2, column 2): the label is missing"),
    "a missing text": (lambda path: named(path, text=["a", None, "b"]), "line 2, column 1): the text is missing"),
    "one class": (lambda path: named(path, label=[1, 1, 1]), "1 class (a.parquet)"),
    "a bomb": (lambda path: table(path, "zstd", text=[f"{i:0100000}" for i in range(2000)], label=["a", "b"] * 1000),
               "it is more than 100 times as large"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_refused_in_one_line(kind, tmp_path, monkeypatch):
    make, why = BAD[kind]
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "a.parquet")
    with pytest.raises(DataError) as refused:
        read_labelled("a.parquet")
    line = str(refused.value)
    assert why in line
    assert "a.parquet" in line
    assert len(line) <= 233
    assert "\n" not in line


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    path = table(tmp_path / "a.parquet")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(DataError, match=r"pyarrow is not installed; pip install '\.\[files\]'"):
        read_table(path)


def test_flipped_bytes_raise_nothing_else(tmp_path):
    image = bytearray(table(tmp_path / "a.parquet").read_bytes())
    generator, refused = np.random.default_rng(0), 0
    for _ in range(100):
        broken = image.copy()
        for at in generator.integers(0, len(broken), 8):
            broken[at] = generator.integers(256)
        (tmp_path / "b.parquet").write_bytes(broken)
        try:
            read_table(tmp_path / "b.parquet")
        except DataError:
            refused += 1
    assert refused > 20
