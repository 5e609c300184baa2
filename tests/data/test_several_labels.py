"""Tables of texts with any number of labels: a column for each, or one in which they are separated."""

import json

import numpy as np
import pytest

from tinygrad_gpt.data.classification import in_given_order, read_labelled, shared_texts, split_by_text, split_for_test
from tinygrad_gpt.errors import DataError, UsageError


def read(tmp_path, name, content, *args, **options):
    (tmp_path / name).write_text(content, encoding="utf-8")
    return read_labelled(tmp_path / name, *args, **options)


def test_a_column_for_each_label_in_their_order(tmp_path):
    data = read(tmp_path, "a.csv", "id,текст,грубо,あ\n1,a,1,no\n2,b,,YES\n3,c,0,x\n4,d,False,\n", "текст",
                ("あ", "грубо"))
    assert (data.texts, data.classes) == (["a", "b", "c", "d"], ["あ", "грубо"])
    np.testing.assert_array_equal(data.labels, [[0, 1], [1, 0], [1, 0], [0, 0]])
    assert data.labels.dtype == np.float32
    assert str(data.counts) == "5 lines read, 4 records, 0 skipped (1 header)"


def test_truth_values_of_json(tmp_path):
    rows = [{"text": "a", "x": True, "y": 0}, {"text": "b", "x": None, "y": 1}, {"text": "c", "x": False, "y": "1.0"}]
    data = read(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)), None, ("x", "y"))
    np.testing.assert_array_equal(data.labels, [[1, 0], [0, 1], [0, 1]])


@pytest.mark.parametrize(("name", "content"), [
    ("a.csv", 'text,label\na,rude; untrue\nb,\nc,"rude ;rude"\nd, untrue;\n'),
    ("a.tsv", "a\trude;untrue\nb\t\nc\trude\nd\tuntrue\n"),
    ("a.jsonl", '{"text": "a", "label": ["rude", "untrue"]}\n{"text": "b", "label": null}\n'
                '{"text": "c", "label": "rude"}\n{"text": "d", "label": ["untrue"]}\n'),
])
def test_labels_that_are_separated(name, content, tmp_path):
    given = ("1", "2") if name == "a.tsv" else ()
    data = read(tmp_path, name, content, *given, label_separator=";")
    assert data.classes == ["rude", "untrue"]
    np.testing.assert_array_equal(data.labels, [[1, 1], [0, 0], [1, 0], [0, 1]])


@pytest.mark.parametrize(("content", "columns", "why"), [
    ("text,a,b\nx,1,maybe\n", ("a", "b"), r"line 2, column b\): 'maybe' is neither 1, yes or true nor 0, no"),
    ("text,a,b\nx,1,2\n", ("a", "b"), "'2' is neither 1"), ("text,a,b\n,1,0\n", ("a", "b"), "the text is empty"),
    ("text,a,b\nx,1,0\n", ("a", "b"), r"label 'b' \(.*\): none of the 1 texts has it; leave it out"),
    ("text,a,b\nx,1,0\n", ("a", "c"), "no label column 'c'"),
    ("text,a,b\nx,1,0\n", ("a", "a"), "a column is given twice"),
    ("text,a,b\nx,1,0\n", ("a", "text"), "a column is given twice"),
])
def test_bad_columns_are_refused(content, columns, why, tmp_path):
    with pytest.raises(DataError, match=why):
        read(tmp_path, "a.csv", content, None, columns)


def test_malformed_rows_are_skipped_and_counted(tmp_path):
    data = read(tmp_path, "a.csv", "text,a,b\nx,1,maybe\ny,1,0\nz,0,1\n,1,1\n", None, ("a", "b"), skip_malformed=True)
    assert (data.texts, data.counts.skipped) == (["y", "z"], 2)


def test_one_label_or_none_is_no_work_for_several(tmp_path):
    for content in ("text,label\na,x\nb,x\n", "text,label\na,\nb,\n"):
        with pytest.raises(DataError, match=r"[01] labels of 2 texts"):
            read(tmp_path, "a.csv", content, label_separator=";")
    with pytest.raises(UsageError, match="2 label columns and a separator"):
        read(tmp_path, "a.csv", "text,a,b\nx,1,1\n", None, ("a", "b"), label_separator=";")
    with pytest.raises(DataError, match="the labels are no text and no list of texts"):
        read(tmp_path, "a.jsonl", '{"text": "a", "label": [{}]}\n', label_separator=";")


def test_the_order_of_classes_can_be_given(tmp_path):
    data = read(tmp_path, "a.csv", "text,label\na,neutral\nb,bad\nc,good\n")
    assert data.classes == ["bad", "good", "neutral"]
    ordered = in_given_order(data, "bad, neutral, good")
    assert ordered.classes == ["bad", "neutral", "good"]
    assert ordered.labels.tolist() == [1, 0, 2]
    for classes, odd in (("bad,good", "the label 'neutral' is not among them"), ("bad,bad,good", "the label 'neutral'"),
                         ("bad,good,neutral,odd", "no text has the label 'odd'"),
                         ("bad,good,neutral,bad", "one is there twice")):
        with pytest.raises(DataError, match=rf"classes \(.*a\.csv\): {odd}"):
            in_given_order(data, classes)
    several = in_given_order(read(tmp_path, "a.csv", "text,label\na,x;y\nb,y\n", label_separator=";"), "y,x")
    np.testing.assert_array_equal(several.labels, [[1, 1], [1, 0]])


def test_parts_share_no_text_and_contradictions_are_left_out(tmp_path):
    rows = [f"text {i},{'a;b' if i % 3 else 'a'}" for i in range(60)] + ["TEXT 1,a;b", "Text 2,b"]
    data = read(tmp_path, "a.csv", "text,label\n" + "\n".join(rows), label_separator=";")
    split = split_by_text(data, seed=1)
    assert (split.duplicates, split.conflicts, len(split.rows)) == (1, 2, 59)
    assert shared_texts(*([data.texts[i] for i in part] for part in (split.train, split.validation, split.test))) == 0
    test = read(tmp_path, "b.csv", "text,label\nnew,b\nother,\nthird,a;b\n", label_separator=";")
    joined, split = split_for_test(data, test, seed=1)
    np.testing.assert_array_equal(joined.labels[split.test], [[0, 1], [0, 0], [1, 1]])
