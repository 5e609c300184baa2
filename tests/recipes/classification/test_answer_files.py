"""A file of answers grows by whole rows, and a stopped run goes on behind the last of them."""

import csv
import io
import json
import re

import pytest
import tiny

from tinygrad_gpt.errors import DataError, TinygradError, UsageError
from tinygrad_gpt.files import part_of
from tinygrad_gpt.recipes.classification import classify as module
from tinygrad_gpt.recipes.classification.answer_files import AnswerFile
from tinygrad_gpt.recipes.classification.classify import classify, classify_windows

TEXTS = [text for text, _ in tiny.texts(40)] + ['of "two"\r\nlines', "für, ski", "", "ice"]


@pytest.fixture(scope="module")
def saved():
    return tiny.classifier()


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    monkeypatch.setattr(module, "WINDOW", 5)


def write(path, saved, texts=TEXTS, stop_at=None):
    """Answer texts into a file, or stop like a killed process behind some of them."""
    source = iter(texts if stop_at is None else texts[:stop_at])

    def windows():
        yield from classify_windows(saved, source)
        if stop_at is not None:
            raise KeyboardInterrupt

    answers = AnswerFile(path)
    return answers.write(windows(), answers.written(saved, source))


def read(path):
    data = path.read_bytes()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in data.decode().splitlines()]
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_rows_are_those_of_the_texts_in_their_order(name, saved, tmp_path):
    assert write(tmp_path / name, saved) == len(TEXTS)
    rows, answers = read(tmp_path / name), iter(classify(saved, [text for text in TEXTS if text]))
    assert [row["text"] for row in rows] == TEXTS
    for row in rows:
        if row["text"]:
            answer = next(answers)
            assert row["label"] == answer.label
            assert float(row["probability"]) == pytest.approx(answer.probability, abs=1e-6)
        else:
            assert row["label"] == ""
            assert row["probability"] in ("", None)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
def test_a_run_that_was_cut_anywhere_ends_like_one_that_was_not(name, saved, tmp_path):
    texts = [text for text in TEXTS if "\n" not in text] if name == "a.tsv" else TEXTS
    write(tmp_path / name, saved, texts)
    whole, path = (tmp_path / name).read_bytes(), tmp_path / f"b{name[1:]}"
    for cut in [*range(0, len(whole), 97), len(whole)]:
        part_of(path).write_bytes(whole[:cut])
        answers, source = AnswerFile(path), iter(texts)
        found = answers.written(saved, source)
        assert found.size <= cut
        assert answers.write(classify_windows(saved, source), found) == len(texts)
        assert strip(path.read_bytes()) == strip(whole)
        assert not part_of(path).exists()


def strip(data):
    """A table without its probabilities, whose last digits depend on the other texts of a window."""
    return re.sub(rb"[01]\.\d+(e-\d+)?", b"p", data)


def test_what_a_stopped_run_has_written_stays(saved, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a.jsonl", saved, stop_at=15)
    assert len(part_of(tmp_path / "a.jsonl").read_text().splitlines()) == 15
    with pytest.raises(UsageError, match=r"a stopped run left a.jsonl.part; go on with --resume, or remove it"):
        AnswerFile(tmp_path / "a.jsonl").check(resume=False)
    assert not AnswerFile(tmp_path / "a.jsonl").check(resume=True)
    write(tmp_path / "a.jsonl", saved)
    assert [row["text"] for row in read(tmp_path / "a.jsonl")] == TEXTS
    assert AnswerFile(tmp_path / "a.jsonl").check(resume=True)
    assert not AnswerFile(tmp_path / "a.jsonl").check(resume=False)


def test_a_stopped_run_goes_on_behind_a_text_longer_than_csv_reads_by_itself(saved, tmp_path):
    texts = ["ski " * (csv.field_size_limit() // 4 + 1), *TEXTS[:9]]
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a.csv", saved, texts, stop_at=5)
    assert write(tmp_path / "a.csv", saved, texts) == 10
    limit = csv.field_size_limit(2**31 - 1)
    try:
        assert [row["text"] for row in read(tmp_path / "a.csv")] == texts
    finally:
        csv.field_size_limit(limit)


def test_other_texts_and_another_model_are_refused(saved, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a.csv", saved, stop_at=15)
    before = part_of(tmp_path / "a.csv").read_bytes()
    with pytest.raises(UsageError, match=r"row 3 of a.csv.part is not about text 3; give the same texts"):
        write(tmp_path / "a.csv", saved, [*TEXTS[:2], "other", *TEXTS[3:]])
    with pytest.raises(UsageError, match=r"row 10 of a.csv.part is not about text 10"):
        write(tmp_path / "a.csv", saved, TEXTS[:9])
    other = tiny.classifier()
    other.model.score.weight.data[:] *= -1
    with pytest.raises(UsageError, match=r"the answers in a.csv.part are of another model"):
        write(tmp_path / "a.csv", other)
    assert part_of(tmp_path / "a.csv").read_bytes() == before


def test_a_fault_in_the_first_window_leaves_nothing(saved, tmp_path):
    with pytest.raises(DataError, match=r"cannot write as TSV \(text 2\)"):
        write(tmp_path / "a.tsv", saved, ["a", "b\tc"])
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(TinygradError, match="it is a folder or a device"):
        AnswerFile(tmp_path / "folder.csv").check(resume=False)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.csv"]


def test_parquet_is_resumed_too(saved, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `files` is not installed")
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a.parquet", saved, stop_at=15)
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet.jsonl.part"]
    assert write(tmp_path / "a.parquet", saved) == len(TEXTS)
    table = parquet.read_table(tmp_path / "a.parquet")
    assert table.column_names == ["text", "label", "probability"]
    assert table["text"].to_pylist() == TEXTS
    assert table["probability"].to_pylist()[TEXTS.index("")] is None
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]
