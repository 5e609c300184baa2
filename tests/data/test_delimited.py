"""Rows come one after the other; what decides how a file is read is its beginning."""

import pytest

from tinygrad_gpt.data import delimited
from tinygrad_gpt.data.compressed import open_bytes
from tinygrad_gpt.data.delimited import StreamedText, plain_rows
from tinygrad_gpt.data.rows import Table
from tinygrad_gpt.data.tables import open_table, read_table
from tinygrad_gpt.errors import DataError

FILES = [
    ("a.csv", "text,label\n" + '"a ""quoted"" one,\nof two lines",x\r\nb,y\n\n' * 40),
    ("a.csv", "text;label\n" + "a, b;x\nc;y\n" * 60), ("a.csv", "sep=|\ntext|label\n" + "a|b\n" * 60),
    ("a.tsv", "text\tlabel\n" + '"a\tb"\nc\td\n' * 60), ("a.tsv", "a\tb\r" * 99), ("a", '"say ""a"""\tb\n' * 40),
    ("a.jsonl", '{"text": "für", "label": 1.0}\n\n{"label": "y", "text": "b"}\n' * 30),
    ("a.json", "[" + ", ".join('{"text": "a"}' for _ in range(60)) + "]"), ("a.jsonl", '{"text":\n "a"}\n' * 50),
]


@pytest.mark.parametrize(("name", "content"), FILES)
@pytest.mark.parametrize("piece", [7, 64])
def test_a_file_in_pieces_has_the_rows_of_the_whole(name, content, piece, tmp_path, monkeypatch):
    (tmp_path / name).write_bytes(content.encode())
    whole = read_table(tmp_path / name)
    monkeypatch.setattr("tinygrad_gpt.data.compressed.PIECE", piece)
    monkeypatch.setattr(delimited, "HEAD", 50)
    with open_table(tmp_path / name) as table:
        assert len(table.rows) == 1
        assert list(table.all_rows()) == whole.rows
        assert (table.counts, table.names) == (whole.counts, whole.names)


def test_a_quote_that_is_open_at_the_end_of_the_beginning_decides_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tinygrad_gpt.data.compressed.PIECE", 10)
    monkeypatch.setattr(delimited, "HEAD", 20)
    (tmp_path / "a.csv").write_text('a;b\nc;d\n"open at\n the cut";e\n')
    with open_table(tmp_path / "a.csv") as table:
        assert [cells for _, cells in table.all_rows()] == [["a", "b"], ["c", "d"], ["open at\n the cut", "e"]]


@pytest.mark.parametrize(("name", "bad", "why"), [
    ("a.csv", b"a,b,c\n", "line 1001, column 3): 3 cells, but the first row has 2"),
    ("a.csv", b'a,"b\n', "line 1001): a quote is never closed"),
    ("a.csv", b"caf\xe9,b\n", "line 1001, column 4): byte 0xe9 is not utf-8"),
    ("a.jsonl", b'{"text": }\n', "line 1001, column 10): not JSON"),
])
def test_a_fault_far_behind_the_beginning_has_its_place(name, bad, why, tmp_path, monkeypatch):
    monkeypatch.setattr("tinygrad_gpt.data.compressed.PIECE", 100)
    monkeypatch.setattr(delimited, "HEAD", 100)
    good = b'{"text": "a"}\n' if name == "a.jsonl" else b"a,b\n"
    (tmp_path / name).write_bytes(good * 1000 + bad)
    with pytest.raises(DataError) as refused, open_table(tmp_path / name) as table:
        assert sum(1 for _ in table.all_rows()) == 0
    assert why in str(refused.value)


def test_the_share_of_a_file_that_was_given_out(tmp_path, monkeypatch):
    monkeypatch.setattr("tinygrad_gpt.data.compressed.PIECE", 100)
    monkeypatch.setattr(delimited, "HEAD", 400)
    (tmp_path / "a.tsv").write_text("a\tb\n" * 1000)
    with open_table(tmp_path / "a.tsv") as table:
        shares = [table.share() for _ in table.all_rows()]
    assert shares[::250] == pytest.approx([0.001, 0.251, 0.501, 0.751], abs=0.03)
    assert shares[-1] == pytest.approx(1.0, abs=0.002)


def test_lines_of_plain_text():
    with open_bytes(b"a\r\n\n \nb\rc\n\n\n") as opened:
        rows = list(plain_rows(StreamedText(opened, "utf-8", False).lines("\n"), Table("a", False)))
    assert rows == [(1, ["a"]), (2, [""]), (3, [" "]), (4, ["b\rc"])]
