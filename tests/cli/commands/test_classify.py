"""`classify`: what it prints and writes."""

import csv
import importlib
import io
import json
import signal
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
        ["text", "label", "probability", "probabilities", "tokens", "truncated", "unsure"]] * len(TEXTS)
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


def test_rows_without_text_keep_their_place_and_are_counted(model, tmp_path, capsys):
    (tmp_path / "a.csv").write_text("id,text\n1,ski\n2,\n3,  \n4,bug loop\n")
    args = ["classify", "--model", model, "--file", str(tmp_path / "a.csv")]
    assert main([*args, "--json"]) == 0
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["text"] for row in rows] == ["ski", "", "", "bug loop"]
    assert (rows[1]["label"], rows[1]["probability"], rows[1]["probabilities"]) == ("", None, {})
    assert err == "2 of 4 rows without text, the first in line 3; their labels are empty\n"
    assert main([*args, "--output", str(tmp_path / "b.csv")]) == 0
    assert [bool(row["label"]) for row in read_csv((tmp_path / "b.csv").read_text())] == [True, False, False, True]
    capsys.readouterr()
    assert main([*args, "--skip-malformed"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert err == "2 malformed rows skipped\n"


def test_excel_and_parquet_in_and_out(model, tmp_path, capsys):
    openpyxl = pytest.importorskip("openpyxl", reason="the extra `files` is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `files` is not installed")
    book = openpyxl.Workbook()
    for row in [("n", "message"), (1, "bug loop"), (2, None), (3, "ski")]:
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    args = ["classify", "--model", model, "--file"]
    assert main([*args, str(tmp_path / "a.xlsx"), "--output", str(tmp_path / "b.parquet")]) == 0
    assert parquet.read_table(tmp_path / "b.parquet")["text"].to_pylist() == ["bug loop", "", "ski"]
    assert main([*args, str(tmp_path / "b.parquet"), "--json"]) == 0
    assert [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()] == ["bug loop", "", "ski"]


def run(args, **options):
    return subprocess.run([sys.executable, "cli.py", "classify", *args], cwd=REPOSITORY, capture_output=True,
                          text=True, timeout=120, **options)


def test_lines_with_tabs_may_be_a_table(model, tmp_path, capsys):
    said = "every line was read as one text, with 1 tab in it; if that is a table, give --text-column\n"
    for text, note in (("ham\tski ice\nspam\tbug loop\n", said), ("a\tb\nski\n", ""), ("ham\tski\n", "")):
        (tmp_path / "SMS").write_text(text)
        assert main(["classify", "--model", model, "--file", str(tmp_path / "SMS")]) == 0
        assert capsys.readouterr().err == note
    (tmp_path / "SMS").write_text("ham\tski ice\nspam\tbug loop\n")
    assert main(["classify", "--model", model, "--file", str(tmp_path / "SMS"), "--text-column", "2"]) == 0
    assert capsys.readouterr().err == ""


def test_a_killed_run_is_resumed(model, tmp_path):
    data, output = tmp_path / "a.txt", tmp_path / "b.csv"
    data.write_text("".join(f"ski bug {i}\n" for i in range(12_000)))
    args = ["--model", model, "--file", str(data), "--output", str(output)]
    code = f"""
import os, sys
from tinygrad_gpt import files
from tinygrad_gpt.cli import main
write, count = files.system.write, 0

def killed(*args):
    global count
    count += 1
    return write(*args) if count < 3 else os.kill(os.getpid(), {int(signal.SIGKILL)})

files.system.write = killed
main(["classify", *{args!r}])"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, timeout=120)
    assert done.returncode == -signal.SIGKILL
    part = tmp_path / "b.csv.part"
    assert len(read_csv(part.read_text())) == 256 + 512
    part.write_bytes(part.read_bytes()[:-7])
    refused = run(args)
    assert (refused.returncode, output.exists()) == (2, False)
    assert refused.stderr == (f"error: cannot write ({output}): a stopped run left b.csv.part; go on with --resume, "
                              "or remove it\n")
    resumed = run([*args, "--resume"])
    assert (resumed.returncode, resumed.stdout) == (0, "")
    assert resumed.stderr.splitlines()[-1] == f"12,000 answers written to {output}"  # a slow machine says more before
    assert [row["text"] for row in read_csv(output.read_text())] == data.read_text().splitlines()
    again = run([*args, "--resume"])
    said = f"{output} is complete; there is nothing to resume, and nothing was compared\n"
    assert (again.returncode, again.stderr) == (0, said)


def test_a_run_that_is_interrupted_says_what_it_keeps(model, tmp_path, monkeypatch, capsys):
    module = importlib.import_module("tinygrad_gpt.recipes.classification.answer_files")
    windows = module.classify_windows

    def interrupted(saved, texts):
        for number, window in enumerate(windows(saved, texts)):
            if number == 2:
                raise KeyboardInterrupt
            yield window

    monkeypatch.setattr("tinygrad_gpt.recipes.classification.classify.WINDOW", 5)
    monkeypatch.setattr("tinygrad_gpt.recipes.classification.classify.classify_windows", interrupted)
    (tmp_path / "a.txt").write_text("ski\n" * 20)
    args = ["classify", "--model", model, "--file", str(tmp_path / "a.txt"), "--output", str(tmp_path / "b.jsonl")]
    assert main(args) == 130
    assert capsys.readouterr().err == (
        "error: interrupted (SIGINT): 10 answers are kept; add --resume to the same command to go on\n")
    monkeypatch.undo()
    assert main([*args, "--resume"]) == 0
    assert len((tmp_path / "b.jsonl").read_text().splitlines()) == 20


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak of a process")
@pytest.mark.parametrize("ending", ["csv.gz", "jsonl"])
def test_memory_does_not_grow_with_the_rows(ending, tmp_path):
    """Two files of which one is ten times as long; the model is a stand-in, for the rows are what takes memory."""
    code = """
import gzip, json, re, sys
from types import SimpleNamespace
from tinygrad_gpt.cli.commands import classify as command
from tinygrad_gpt.recipes.classification import classify as recipe
from tinygrad_gpt.runs import saved_model

def answers(saved, texts, batch_tokens):
    return [recipe.Prediction(text, "a", 0.5, {"a": 0.5}, 3, False) for text in texts]

recipe._answers = answers
saved_model.load_model = lambda path: SimpleNamespace(
    classifier=None, labels=("a",), thresholds=(), unsure_below=0.0,
    tokenizer=SimpleNamespace(special_in=lambda texts: set()))
rows, path, output = int(sys.argv[1]), sys.argv[2], sys.argv[3]
write = gzip.open if path.endswith("gz") else open
with write(path, "wt") as file:
    file.write("text\\n" if "csv" in path else "")
    for i in range(rows):
        file.write(json.dumps({"text": f"row {i}"}) + "\\n" if "json" in path else f"row {i} of many\\n")
command.command(["--file", path, "--output", output], standalone_mode=False)
print(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])
"""
    peaks = []
    for rows in (30_000, 300_000):
        files = [str(tmp_path / f"a.{ending}"), str(tmp_path / f"{rows}.csv")]
        done = subprocess.run([sys.executable, "-c", code, str(rows), *files], cwd=REPOSITORY, capture_output=True,
                              text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout.split()[-1]) / 1024)
        with (tmp_path / f"{rows}.csv").open() as file:
            assert sum(1 for _ in file) == rows + 1
    assert peaks[1] < peaks[0] + 10, peaks  # MiB; the rows themselves would take more than 30


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


def test_unsure_answers_are_said_so_and_counted(model, tmp_path, capsys):
    assert main(["classify", "--model", model, "--json", *TEXTS]) == 0
    sure = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    threshold = sorted(answer["probability"] for answer in sure)[1]  # the least sure answer is below it
    assert main(["classify", "--model", model, "--unsure-below", f"{threshold:.6f}", *TEXTS]) == 0
    printed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert printed.count("unsure") >= 1
    assert [label for label, answer in zip(printed, sure, strict=True) if label != "unsure"] == [
        answer["label"] for answer, label in zip(sure, printed, strict=True) if label != "unsure"]
    data = tiny.labelled_file(tmp_path / "three.csv", 30)
    assert main(["evaluate", "classifier", "--model", model, "--data", str(data), "--unsure-below", "1"]) == 0
    assert "30 answers unsure, below 1" in capsys.readouterr().out
