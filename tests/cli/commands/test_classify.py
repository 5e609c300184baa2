"""`classify`: what it prints and writes."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

from tinygrad_gpt.cli import main
from tinygrad_gpt.recipes.classification.classify import classify
from tinygrad_gpt.runs.saved_model import load_model

REPOSITORY = Path(__file__).resolve().parents[3]
TEXTS = ["bug loop", "ice, \"cold\"\tfrost", "swim \u65e5\u672c"]


@pytest.fixture
def answers(model):
    return classify(load_model(model), TEXTS)


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)


def test_a_line_per_text_with_label_and_probability(model, answers, capsys):
    assert main(["classify", "--model", model, *TEXTS]) == 0
    out, err = capsys.readouterr()
    width = max(len(answer.label) for answer in answers)
    assert out.splitlines() == [
        f"{answer.label:{width}}  {answer.probability:.3f}  {shown}"
        for answer, shown in zip(answers, ["bug loop", r'ice, "cold"\tfrost', "swim \u65e5\u672c"], strict=True)]
    assert err == ""


def test_the_text_is_shortened_to_the_terminal(model, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    assert main(["classify", "--model", model, "sand " * 10, "\u65e5" * 20, "one\ntwo \x1b[31m"]) == 0
    long, wide, control = capsys.readouterr().out.splitlines()
    assert (len(long), long[-1]) == (30, "\u2026")
    assert 0 < wide.count("\u65e5") <= (30 - 12) // 2
    assert control.endswith("one two \\x1b[31m")


def test_json_has_every_field(model, answers, capsys):
    assert main(["classify", "--json", "--model", model, *TEXTS]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [list(line) for line in lines] == [
        ["text", "label", "probability", "probabilities", "tokens", "truncated"]] * len(TEXTS)
    for line, answer in zip(lines, answers, strict=True):
        assert (line["text"], line["label"], line["tokens"], line["truncated"]) == (
            answer.text, answer.label, answer.tokens, False)
        assert line["probability"] == answer.probability == max(line["probabilities"].values())
        assert sum(line["probabilities"].values()) == pytest.approx(1, abs=1e-6)


def test_truncated_texts_are_counted(model, capsys):
    assert main(["classify", "--model", model, "ski " * 50, "ski", "ice " * 60]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3
    assert err == "2 of 3 texts longer than the 15 tokens that the model reads; their ends were not read\n"


@pytest.mark.parametrize(("name", "content", "args"), [
    ("a.txt", "bug loop\nski\n", []),
    ("lines", "bug loop\r\nski", []),
    ("a.csv", 'id,message\n1,bug loop\n2,"ski"\n', []),
    ("a.tsv", "mood\twords\nx\tbug loop\ny\tski\n", ["--text-column", "words"]),
    ("b.tsv", "x\tbug loop\ny\tski\n", ["--text-column", "2"]),
    ("a.jsonl", '{"text": "bug loop"}\n{"text": "ski"}\n', []),
])
def test_files_of_every_kind(name, content, args, model, tmp_path, capsys):
    (tmp_path / name).write_text(content, newline="")
    assert main(["classify", "--json", "--model", model, "--file", str(tmp_path / name), *args]) == 0
    assert [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()] == ["bug loop", "ski"]


def test_other_encodings_and_skipped_lines(model, tmp_path, capsys):
    (tmp_path / "a.txt").write_bytes("caf\u00e9\n\nski\n".encode("latin-1"))
    args = ["classify", "--json", "--model", model, "--file", str(tmp_path / "a.txt"), "--encoding", "latin-1"]
    assert main([*args, "--skip-malformed"]) == 0
    out, err = capsys.readouterr()
    assert [json.loads(line)["text"] for line in out.splitlines()] == ["caf\u00e9", "ski"]
    assert err == "1 malformed rows skipped\n"


def test_standard_input(model):
    done = subprocess.run([sys.executable, "cli.py", "classify", "--model", model, "--file", "-"], cwd=REPOSITORY,
                          input=b"bug loop\nice\n", capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert [line.split(b"  ")[-1] for line in done.stdout.splitlines()] == [b"bug loop", b"ice"]


def read_csv(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def read_jsonl(text):
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(("name", "read"), [("a.csv", read_csv), ("a.JSONL", read_jsonl), ("a.ndjson", read_jsonl)])
def test_output_holds_text_label_and_probability(name, read, model, answers, tmp_path, capsys):
    output = tmp_path / name
    assert main(["classify", "--model", model, "--output", str(output), *TEXTS, "a\r\nb\rc"]) == 0
    rows = read(output.read_bytes().decode())
    assert list(rows[0]) == ["text", "label", "probability"]
    assert [row["text"] for row in rows] == [*TEXTS, "a\r\nb\rc"]
    assert [(row["label"], float(row["probability"])) for row in rows[:3]] == [
        (answer.label, pytest.approx(answer.probability, abs=1e-6)) for answer in answers]
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"4 answers written to {output}\n")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_tsv_is_written_without_quotes_and_refuses_what_needs_them(model, tmp_path, capsys):
    output = tmp_path / "a.tsv"
    assert main(["classify", "--model", model, "--output", str(output), 'a "b"']) == 0
    header, row = output.read_text().splitlines()
    assert header == "text\tlabel\tprobability"
    assert row.split("\t")[0] == 'a "b"'
    before = output.read_bytes()
    assert main(["classify", "--model", model, "--output", str(output), *TEXTS]) == 1
    assert "cannot write as TSV (text 2)" in capsys.readouterr().err
    assert output.read_bytes() == before


def test_what_was_written_can_be_evaluated(model, tmp_path, capsys):
    data = tmp_path / "answers.csv"
    assert main(["classify", "--model", model, "--output", str(data), *(text for text, _ in tiny.texts(30))]) == 0
    assert main(["evaluate", "--model", model, "--data", str(data), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"]["accuracy"] == 1.0


# -- start-up: what `classify` and `--help` may import from outside the standard library

ALLOWED = {
    "--help": {"click", "tinygrad_gpt"},
    "classify": {"click", "tinygrad_gpt", "numpy", "h5py", "tiktoken", "tiktoken_ext",
                 "cython_runtime"},  # and modules that Cython registers under its version
}
UNUSED = {"numpy.random", "tinygrad_gpt.recipes.classification.finetune",
          "tinygrad_gpt.recipes.classification.evaluate", "tinygrad_gpt.data.classification",
          "tinygrad_gpt.train", "tinygrad_gpt.optim", "tinygrad_gpt.study"}


@pytest.mark.parametrize("name", ALLOWED)
def test_nothing_is_imported_in_vain(name, model):
    args = ["classify", "--model", model, "ski"] if name == "classify" else [name]
    code = f"""
import sys
before = set(sys.modules)
from tinygrad_gpt.cli import main
code = main({args!r})
print(*set(sys.modules) - before, file=sys.stderr)
sys.exit(code)"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    modules = set(done.stderr.split())
    packages = {module.partition(".")[0] for module in modules} - set(sys.stdlib_module_names)
    assert {package for package in packages if not package.startswith("_cython_")} <= ALLOWED[name]
    assert modules & UNUSED == set()


def test_reasons_stand_below_each_answer(model, capsys):
    assert main(["classify", "--model", model, "--explain", *TEXTS]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * len(TEXTS)
    assert all(line.startswith("    log-odds ") for line in lines[1::2])


def test_json_has_the_reasons(model, capsys):
    assert main(["classify", "--model", model, "--explain", "--json", *TEXTS]) == 0
    for line, text in zip(capsys.readouterr().out.splitlines(), TEXTS, strict=True):
        found = json.loads(line)["explanation"]
        assert "".join(part["text"] for part in found["parts"]) == text
        total = sum(part["integrated"] for part in found["parts"])
        assert total == pytest.approx(found["score"] - found["neutral"], abs=1e-3)


def test_the_page_of_reasons(model, tmp_path, capsys):
    assert main(["classify", "--model", model, "--html", str(tmp_path / "why.html"), *TEXTS]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == len(TEXTS)
    assert err == f"the reasons for {len(TEXTS)} answers written to {tmp_path / 'why.html'}\n"
    assert "<h1>Why this label</h1>" in (tmp_path / "why.html").read_text(encoding="utf-8")


def test_a_table_has_no_place_for_reasons(tmp_path, capsys):
    assert main(["classify", "--explain", "--output", str(tmp_path / "a.csv"), "x"]) == 2
    assert "a table has no place for reasons; use --json or --html" in capsys.readouterr().err
