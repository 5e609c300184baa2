"""Labelled texts are those of the file, and no text is in two parts of a split."""

import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygrad_gpt.data.classification import (
    LabelledTexts,
    normalise,
    read_labelled,
    shared_texts,
    split_by_text,
    split_for_test,
    with_extra,
)
from tinygrad_gpt.data.texts import read_texts
from tinygrad_gpt.errors import DataError, UsageError


def write(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def labelled(texts, labels):
    classes = sorted(set(labels))
    return LabelledTexts(list(texts), np.array([classes.index(label) for label in labels], np.int64), classes)


# -- reading


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", 'text,label\n"hi, you",ham\nwin,spam\nbye,ham\n'),
        ("a.csv", '\ufefflabel,text,id\r\nham,"hi, you",1\r\nspam,win,2\r\nham,bye,3\r\n'),
        ("a.tsv", "Category\tMessage\nham\thi, you\nspam\twin\nham\tbye\n"),
        ("SMS", "ham\thi, you\nspam\twin\nham\tbye"),
        ("a.csv", '"hi, you",ham\nwin,spam\nbye,ham\n'),
        ("a.jsonl", '{"text":"hi, you","label":"ham"}\n{"label":"spam","text":"win"}\n{"text":"bye","label":"ham"}'),
        ("a.tsv", b"\xff\xfe" + "text\tlabel\nhi, you\tham\nwin\tspam\nbye\tham\n".encode("utf-16-le")),
    ],
)
def test_the_same_records_from_every_format(tmp_path, name, data):
    read = read_labelled(write(tmp_path, name, data))
    assert read.texts == ["hi, you", "win", "bye"]
    assert read.classes == ["ham", "spam"]
    assert read.labels.tolist() == [0, 1, 0]
    assert read.labels.dtype == np.int64
    assert (read.counts.records, read.counts.skipped) == (3, 0)


def test_labels_lose_surrounding_space_and_texts_do_not(tmp_path):
    read = read_labelled(write(tmp_path, "a.csv", "text,label\n x ,ham \ny,ham \nz, spam\n"))
    assert read.texts == [" x ", "y", "z"]
    assert read.classes == ["ham", "spam"]


def test_numbered_classes_of_json_lines(tmp_path):
    read = read_labelled(write(tmp_path, "a.jsonl", '{"text": "x", "label": 1}\n{"text": "y", "label": 0}\n'))
    assert (read.classes, read.labels.tolist()) == (["0", "1"], [1, 0])


@pytest.mark.parametrize(("labels", "classes"), [
    (["true", "false"], ["false", "true"]), (["1.0", "0"], ["0", "1.0"]), (["1e3", '"ham"'], ["1e3", "ham"])])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
@pytest.mark.parametrize(("start", "between", "end"), [("[", ",\n", "]"), ("", "\n", "\n"), ("\ufeff", "", "")])
def test_json_scalars_are_the_labels_that_they_are_in_a_csv_file(labels, classes, name, start, between, end, tmp_path):
    objects = [f'{{"text": "x{i}", "label": {label}}}' for i, label in enumerate(labels)]
    read = read_labelled(write(tmp_path, name, start + between.join(objects) + end))
    rows = "".join(f"x{i},{label.strip(chr(34))}\n" for i, label in enumerate(labels))
    table = read_labelled(write(tmp_path, "a.csv", "text,label\n" + rows))
    assert (read.texts, read.classes, read.labels.tolist()) == (table.texts, classes, table.labels.tolist())
    assert read.counts.lines == read.counts.records == 2


def row(**record):
    return json.dumps({"text": "x", "label": "ham"} | record) + "\n"


@pytest.mark.parametrize(
    ("name", "data", "where", "why"),
    [
        ("a.csv", "text,label\nx,ham\n ,spam\nz,spam\n", "line 3, column 1", "the text is empty"),
        ("a.csv", "text,label\nx,ham\ny,\nz,spam\n", "line 3, column 2", "the label is empty"),
        ("a.tsv", "text\tlabel\nx\tham\n\t\nz\tspam\n", "line 3, column 1", "the text is empty"),
        ("a.tsv", "text\tlabel\nx\tham\na\0b\tham\nz\tspam\n", "line 3, column 1", "a NUL character in the text"),
        ("a.csv", "text,label\nx,ham\ny,h\0m\nz,spam\n", "line 3, column 2", "a NUL character in the label"),
        ("a.jsonl", row() + row(label="spam") + row(text=7), "line 3, column 1", "a number, not a string"),
        ("a.jsonl", row() + row(label="spam") + row(text=None), "line 3, column 1", "the text is missing"),
        ("a.jsonl", row() + row(label="spam") + row(label=["a"]), "line 3, column 2", "a list, not a string"),
        ("a.jsonl", row() + row(label="spam") + row(text="\ud800"), "line 3, column 1", "half a surrogate pair"),
    ],
)
def test_unusable_cells_are_named_or_skipped(tmp_path, name, data, where, why):
    path = write(tmp_path, name, data)
    with pytest.raises(DataError) as caught:
        read_labelled(path)
    assert str(caught.value).startswith(f"malformed row ({path}, {where}): ")
    assert why in str(caught.value)
    read = read_labelled(path, skip_malformed=True)
    assert (read.counts.records, read.counts.skipped) == (2, 1)
    assert len(read.texts) == len(read.labels) == 2


def test_the_column_is_named_as_the_user_named_it(tmp_path):
    with pytest.raises(DataError, match="line 2, column body"):
        read_labelled(write(tmp_path, "a.csv", "body,label\n ,ham\n"), "body")


@pytest.mark.parametrize("other", ["Ham", "ham ", " HAM", "ｈam"])
def test_labels_that_differ_by_case_or_space_are_refused(tmp_path, other):
    path = write(tmp_path, "a.csv", f"text,label\nx,ham\ny,{other}\nz,ham\nw,spam\n")
    with pytest.raises(DataError) as caught:
        read_labelled(path)
    assert repr(other) in str(caught.value)
    assert "'ham' (2 rows)" in str(caught.value)
    assert str(caught.value).endswith("write them alike")


def test_one_class_only_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"1 class .*two classes or more"):
        read_labelled(write(tmp_path, "a.csv", "text,label\nx,ham\ny,ham\n"))
    with pytest.raises(DataError, match="0 class"):
        read_labelled(write(tmp_path, "b.csv", "text,label\n"))


def test_the_wrong_encoding_is_named_and_the_right_one_reads(tmp_path):
    path = write(tmp_path, "a.csv", "text,label\ncafé,ham\ny,spam\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"line 2, column 4.*as cp1252 it reads 'café"):
        read_labelled(path)
    assert read_labelled(path, encoding="latin-1").texts == ["café", "y"]


@settings(max_examples=200, deadline=None)
@given(data=st.text(alphabet='ab,"\t\n\r {}:1\0é', max_size=60), name=st.sampled_from(["a.csv", "a.tsv", "a.jsonl"]))
def test_whatever_is_read_is_reconciled(tmp_path_factory, data, name):
    path = write(tmp_path_factory.getbasetemp(), name, data)
    try:
        read = read_labelled(path, skip_malformed=True)
    except DataError:
        read = None
    if read is not None:
        assert len(read.texts) == len(read.labels) == read.counts.records
        assert set(read.labels.tolist()) == set(range(len(read.classes)))


# -- texts alone


def test_plain_texts_one_a_line(tmp_path):
    assert read_texts(write(tmp_path, "a.txt", "one\r\ntwo\tx\n\n")) == (["one", "two\tx"], 0)
    assert read_texts(b"one\ntwo") == (["one", "two"], 0)
    assert read_texts(io.BytesIO(b"one\ntwo\n")) == (["one", "two"], 0)


def test_texts_of_a_column(tmp_path):
    assert read_texts(write(tmp_path, "a.csv", 'id,text\n1,"a, b"\n2,c\n')) == (["a, b", "c"], 0)
    assert read_texts(write(tmp_path, "SMS", "ham\ta\nspam\tb\n"), "2") == (["a", "b"], 0)
    assert read_texts(write(tmp_path, "a.jsonl", '{"body": "x"}\n')) == (["x"], 0)


def test_empty_lines_of_plain_texts_are_named(tmp_path):
    path = write(tmp_path, "a.txt", "one\n\nthree\n")
    with pytest.raises(DataError, match=r"line 2, column 1.*the text is empty"):
        read_texts(path)
    assert read_texts(path, skip_malformed=True) == (["one", "three"], 1)
    with pytest.raises(DataError, match="no texts"):
        read_texts(write(tmp_path, "b.txt", "\n"), skip_malformed=True)


# -- splitting


def many(n=100):
    return labelled([f"text {i}" for i in range(n)], ["spam" if i % 4 == 0 else "ham" for i in range(n)])


def test_normal_form():
    assert normalise("  ＷＩＮ\u00a0 a\tPRIZE\n") == "win a prize"
    assert normalise("Straße") == normalise("STRASSE")


def test_every_text_is_in_one_part_and_classes_keep_their_shares():
    data = many()
    split = split_by_text(data, seed=1)
    assert sorted([*split.train, *split.validation, *split.test]) == list(range(100))
    for part, ham, spam in [(split.train, 52, 18), (split.validation, 8, 2), (split.test, 15, 5)]:
        assert part.dtype == np.int64
        assert np.bincount(data.labels[part]).tolist() == [ham, spam]


def test_the_split_depends_on_seed_and_texts_not_on_the_order_of_rows():
    data = many()
    order = np.random.default_rng(0).permutation(100)
    shuffled = LabelledTexts([data.texts[i].upper() for i in order], data.labels[order], data.classes)
    split, other = split_by_text(data, seed=1), split_by_text(shuffled, seed=1)
    for part in ("train", "validation", "test"):
        texts = [data.texts[i] for i in getattr(split, part)]
        assert texts == [normalise(shuffled.texts[i]) for i in getattr(other, part)]
    assert split_by_text(data, seed=2).train.tolist() != split.train.tolist()


def test_the_split_of_a_seed_stays_what_it_is():
    split = split_by_text(many(20), seed=123)
    assert split.test.tolist() == [1, 15, 5, 0]


def test_of_equal_texts_the_first_row_is_kept_and_contradictions_are_left_out():
    data = many()
    data.texts[7], data.texts[9], data.texts[10] = "TEXT  5", "text 6 ", " Text 5"  # labels: ham, ham, ham
    data.texts[8] = "text 11"  # spam, but row 11 is ham
    split = split_by_text(data, seed=1)
    kept = {*split.train.tolist(), *split.validation.tolist(), *split.test.tolist()}
    assert {5, 6} <= kept
    assert not {7, 8, 9, 10, 11} & kept
    assert (split.duplicates, split.conflicts) == (3, 2)
    assert len(kept) + split.duplicates + split.conflicts == 100


def test_shared_texts_are_counted():
    assert shared_texts(["a", "a", "b"], ["c"], ["d", "d"]) == 0
    assert shared_texts(["a", "b"], ["A ", "c"], ["a", "C"]) == 2


def test_too_few_texts_of_a_class_are_refused():
    data = labelled([f"text {i}" for i in range(20)], ["ham"] * 18 + ["spam"] * 2)
    with pytest.raises(DataError, match=r"class 'spam'.*2 different texts are too few"):
        split_by_text(data, seed=1)
    assert len(split_by_text(data, (0.5, 0.0, 0.5), seed=1).validation) == 0


def test_every_part_has_a_text_of_every_class():
    data = labelled([f"text {i}" for i in range(20)], ["ham"] * 17 + ["spam"] * 3)
    split = split_by_text(data, seed=1)
    assert [np.bincount(data.labels[part]).tolist() for part in (split.train, split.validation, split.test)] == [
        [12, 1], [2, 1], [3, 1]]


@pytest.mark.parametrize("fractions", [(0.5, 0.5, 0.5), (1.2, -0.2, 0.0), (float("nan"), 0.5, 0.5), (0.0, 0.5, 0.5)])
def test_fractions_that_are_none_are_refused(fractions):
    with pytest.raises(UsageError, match="add up to 1"):
        split_by_text(many(), fractions, seed=1)


# -- a test file


def test_a_test_file_is_the_test_part_whole_and_its_texts_are_not_trained_on():
    data = many()
    data.texts[3] = "TEXT 2"  # ham; text 2, too: one duplicate
    test = labelled(["text 5", " Text 6", "new", "text 5", "other"], ["ham", "ham", "spam", "ham", "spam"])
    data.counts.lines, test.counts.lines = 100, 5
    joined, split = split_for_test(data, test, seed=1)
    assert joined.texts[100:] == test.texts
    assert split.test.tolist() == [100, 101, 102, 103, 104]
    assert [joined.classes[k] for k in joined.labels[split.test]] == ["ham", "ham", "spam", "ham", "spam"]
    assert sorted([*split.train, *split.validation]) == [row for row in range(100) if row not in (3, 5, 6)]
    assert len(split.validation) == 9  # 7 of 72, 2 of 25
    assert (split.in_test, split.duplicates, joined.counts.lines) == (2, 1, 105)
    assert str(split) == ("2 texts of the test file, 1 duplicates and 0 texts with two labels left out; "
                          "88 training, 9 validation, 5 test texts")


def test_labels_of_a_test_file_are_matched_by_name():
    data = labelled([f"text {i}" for i in range(30)], ["a", "b", "c"] * 10)
    joined, split = split_for_test(data, labelled(["x", "y"], ["c", "b"]), seed=1)
    assert joined.labels[split.test].tolist() == [2, 1]
    with pytest.raises(DataError, match=r"unknown labels \(.*\): 'd', 'e' are not in .*; rename them"):
        split_for_test(data, labelled(["x", "y"], ["d", "e"]), seed=1)


def test_extra_texts_are_trained_on_and_validate_and_none_is_tested():
    data = labelled([f"text {i}" for i in range(40)], ["b", "c"] * 20)
    split = split_by_text(data, seed=1)
    extra = labelled(["Text 3", "text 4", *(f"more {i}" for i in range(40)), "MORE 0"], ["c", "b"] * 21 + ["c"])
    joined, larger = with_extra(data, split, extra, seed=1)
    assert joined.classes == ["b", "c"]
    assert np.array_equal(larger.test, split.test)
    assert np.array_equal(larger.train[:len(split.train)], split.train)
    added = set(larger.train) | set(larger.validation)
    added -= set(split.rows)
    assert {joined.texts[row] for row in added} == {f"more {i}" for i in range(40)}
    assert all(joined.labels[row] == extra.labels[extra.texts.index(joined.texts[row])] for row in added)
    assert 2 <= len(larger.validation) - len(split.validation) <= 8
    assert larger.duplicates == split.duplicates + 3
    with pytest.raises(DataError, match=r"unknown labels .* 'd' are not in"):
        with_extra(data, split, labelled(["x", "y"], ["d", "b"]), seed=1)


def test_a_test_file_that_holds_all_texts_of_a_class_is_refused():
    data = many(20)
    with pytest.raises(DataError, match=r"^class 'spam' \(.*\): every text is in the test file, .*; give another file"):
        split_for_test(data, labelled([f"text {i}" for i in range(0, 20, 4)] + ["x"], ["spam"] * 5 + ["ham"]), seed=1)


def test_a_file_beside_itself_is_refused(tmp_path):
    data = many(20)
    with pytest.raises(DataError, match=r"^class 'ham', 'spam' \(.*\): every text is in the test file, .* as well"):
        split_for_test(data, data, seed=1)
    with pytest.raises(DataError, match=r"^class 'ham', 'spam' \(.*\): every text is in .* as well; give another file"):
        with_extra(data, split_by_text(data, seed=1), data, seed=1)


# -- real files


def test_sms_spam_collection(shared_data):
    data = read_labelled(shared_data / "spam" / "SMSSpamCollection")
    assert str(data.counts) == ("5,574 lines read, 5,574 records, 0 skipped (44 cells begin and end with a quote, "
                                "which was kept)")
    assert data.classes == ["ham", "spam"]
    assert np.bincount(data.labels).tolist() == [4827, 747]
    split = split_by_text(data, seed=123)
    parts = [split.train, split.validation, split.test]
    assert [len(part) for part in parts] == [3612, 516, 1031]
    assert (split.duplicates, split.conflicts) == (415, 0)
    assert shared_texts(*([data.texts[i] for i in part] for part in parts)) == 0


def test_banking_questions(shared_data):
    data = read_labelled(shared_data / "classify" / "banking77" / "train.csv")
    assert str(data.counts) == "10,017 lines read, 10,003 records, 0 skipped (1 header, 13 inside quoted cells)"
    assert len(data.classes) == 77
    assert len(split_by_text(data, seed=123).train) == 6999


def test_banking_questions_with_their_own_test_file(shared_data):
    train, test = (read_labelled(shared_data / "classify" / "banking77" / f"{name}.csv") for name in ("train", "test"))
    joined, split = split_for_test(train, test, seed=123)
    parts = [split.train, split.validation, split.test]
    assert shared_texts(*([joined.texts[i] for i in part] for part in parts)) == 0
    assert (len(split.test), split.in_test) == (3080, 7)


def test_movie_reviews(shared_data):
    data = read_labelled(shared_data / "classify" / "imdb" / "test.csv.xz")
    assert str(data.counts) == "25,001 lines read, 25,000 records, 0 skipped (1 header)"
    assert np.bincount(data.labels).tolist() == [12500, 12500]
