"""The commands of the course: a folder is started, graded, and graded at each save, without a network."""

import csv
import json
import re
import shutil
import subprocess
import sys
import time
import zipfile
from xml.etree import ElementTree

import pytest

from tinygrad_gpt.cli import main
from tinygrad_gpt.course.detective import FAULTS, fault_of, planted_code
from tinygrad_gpt.course.exercises import EXERCISES, exercise
from tinygrad_gpt.course.solutions import solution, with_pullbacks


@pytest.fixture
def folder(tmp_path, capsys):
    assert main(["course", "start", str(tmp_path / "gradients"), "--student", "ada"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"wrote {len(EXERCISES) + 1} files in ")
    assert "begin with 01_mul.py, then `course check mul --dir " in said
    return tmp_path / "gradients"


def solve(folder, name):
    (folder / exercise(name).file).write_text(solution(exercise(name)), encoding="utf-8")


def test_one_exercise_is_graded(folder, capsys):
    assert main(["course", "check", "gelu", "--dir", str(folder)]) == 1
    assert capsys.readouterr().out == "gelu                    0 of 10  not written yet\n"
    solve(folder, "gelu")
    assert main(["course", "check", "gelu", "--dir", str(folder)]) == 0
    assert capsys.readouterr().out == "gelu                   10 of 10  right\n"


def test_one_bad_file_leaves_the_others_graded(folder, capsys, monkeypatch):
    solve(folder, "tanh")
    (folder / "05_relu.py").write_text("import os\nos._exit(1)\n")
    monkeypatch.chdir(folder)
    assert main(["course", "check", "tanh", "relu", "sigmoid"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "tanh                    5 of  5  right",
        "relu                    0 of  5  ends the process that runs it (exit code 1)",
        "sigmoid                 0 of  5  not written yet",
        "5 of 15 points"]


def test_what_the_code_prints_is_shown(folder, capsys):
    text = with_pullbacks(exercise("tanh"), {"grad_x": "print('g is', g.shape)\nreturn -g * (1 - y * y)"})
    (folder / "03_tanh.py").write_text(text, encoding="utf-8")
    main(["course", "check", "tanh", "--dir", str(folder)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tanh                    0 of  5  gradient of 'x': the sign is wrong, all numbers are right"
    assert lines[1] == "          printed: g is (2, 3)"


def test_marks_as_json(folder, capsys):
    solve(folder, "mul")
    assert main(["course", "check", "mul", "div", "--dir", str(folder), "--json"]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["name"], row["points"], row["most"], row["passed"], row["student"]) for row in rows] == [
        ("mul", 5, 5, True, "ada"), ("div", 0, 5, False, "ada")]


def test_a_class_is_graded_at_once(tmp_path, capsys):
    (tmp_path / "roster.csv").write_text("student\nbo\nada\n")
    folder, marks = tmp_path / "class", tmp_path / "marks.csv"
    assert main(["course", "start", str(folder), "--personal", str(tmp_path / "roster.csv")]) == 0
    assert f"`course check --dir {folder}` grades all" in capsys.readouterr().out
    text = (folder / "ada" / "05_relu.py").read_text(encoding="utf-8")
    constant = re.search(r"1\.\d\d", text)[0]
    right = f"g * (x > 0) + {constant} * g" if f"+ {constant} * x" in text else f"{constant} * g * (x > 0)"
    (folder / "ada" / "05_relu.py").write_text(
        text.replace('raise NotImplementedError("the gradient of x")', f"return {right}"), encoding="utf-8")
    assert main(["course", "check", "relu", "mul", "--dir", str(folder), "--marks", str(marks)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "ada", "relu                    5 of  5  right", "mul                     0 of  5  not written yet",
        "5 of 10 points",
        "bo", "relu                    0 of  5  not written yet", "mul                     0 of  5  not written yet",
        "0 of 10 points",
        "students with all points: 0 of 2"]
    rows = list(csv.DictReader(marks.read_text(encoding="utf-8").splitlines()))
    assert [(row["student"], row["exercise"], row["points"]) for row in rows] == [
        ("ada", "relu", "5"), ("ada", "mul", "0"), ("bo", "relu", "0"), ("bo", "mul", "0")]
    shutil.rmtree(folder / "bo")
    assert main(["course", "check", "relu", "--dir", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["student"] == "ada"
    assert main(["course", "start", str(folder)]) == 2
    assert capsys.readouterr().err.startswith(f"error: folder of a class ({folder}): it holds the folder ada of a ")
    assert [path.name for path in folder.iterdir()] == ["ada"]


@pytest.mark.parametrize(("args", "code", "said"), [
    (["check", "glu"], 2, "error: no such exercise (glu): choose from mul, "),
    (["check", "--dir", "nowhere"], 2, "error: no course (nowhere): there is no course.json; `course start nowhere`"),
    (["watch", "nowhere"], 2, "error: no course (nowhere): "),
    (["start", ".", "--student", "bo"], 2, "error: --student (bo): . is the folder of ada; name another folder"),
])
def test_bad_input_is_one_line(folder, monkeypatch, capsys, args, code, said):
    monkeypatch.chdir(folder)
    assert main(["course", *args]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(said)
    assert captured.err.count("\n") == 1


def test_starting_again_says_that_nothing_is_new(folder, capsys):
    assert main(["course", "start", str(folder)]) == 0
    assert capsys.readouterr().out.startswith(f"{folder} is up to date\n")


def test_a_case_is_written_and_solved(tmp_path, capsys):
    case = tmp_path / "case"
    assert main(["course", "detective", str(case), "--student", "ada"]) == 0
    assert {path.name for path in case.iterdir()} == {"gpt2_ops.py", "case.json", "CASE.md"}
    fault, _ = fault_of("ada")
    assert main(["course", "accuse", fault.ops[0], fault.arguments[0], "--dir", str(case)]) == 0
    assert "right: it is the gradient of" in capsys.readouterr().out
    assert main(["course", "accuse", "dropout", "x", "--dir", str(case)]) == 1
    assert main(["course", "detective", str(case), "--student", "bo"]) == 2
    assert "error: there is a case (" in capsys.readouterr().err
    assert main(["course", "accuse", "gelu", "x", "--dir", str(tmp_path)]) == 2
    assert "there is no case.json; `course detective" in capsys.readouterr().err
    (case / "case.json").write_text("{}")
    assert main(["course", "accuse", "gelu", "x", "--dir", str(case)]) == 1
    assert "error: cannot read (" in capsys.readouterr().err


def test_the_ledger_explain_and_compare_run_with_the_case(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gpt2_ops.py").write_text(planted_code(FAULTS[0], "0.80"), encoding="utf-8")
    own = ["--text", "Once upon", "--gradients", "gpt2_ops.py"]
    assert main(["gradcheck", *own]) == 1
    assert "op 'layer_norm' in h.0.ln_1: wrong gradient of 'x' (" in capsys.readouterr().out
    assert main(["explain", "h.1.attn.c_proj.weight[5,7]", *own]) == 0
    assert main(["tape", "--text", "Once upon", "--save", "right.h5"]) == 0
    capsys.readouterr()
    assert main(["compare", "right.h5", "plain", *own]) == 1
    assert "layer_norm" in capsys.readouterr().out


def test_a_file_is_graded_when_it_is_saved(folder):
    process = subprocess.Popen([sys.executable, "-m", "tinygrad_gpt", "course", "watch", str(folder)],
                               stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline().startswith("watching ")
        time.sleep(0.05)
        solve(folder, "relu")
        assert process.stdout.readline() == "relu                    5 of  5  right\n"
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def test_a_class_is_published_solved_and_marked(tmp_path, capsys):
    folder, solutions = tmp_path / "class", tmp_path / "solutions.zip"
    assert main(["course", "publish", str(folder), "--solutions", str(solutions)]) == 0
    assert f"wrote the solutions into {solutions}" in capsys.readouterr().out
    with zipfile.ZipFile(solutions) as file:
        file.extract("01_mul.py", folder)
    marks = tmp_path / "marks.xml"
    assert main(["course", "check", "mul", "div", "--dir", str(folder), "--marks", str(marks)]) == 1
    suite = ElementTree.parse(marks).getroot()
    assert [(case.get("name"), case.find("failure") is None) for case in suite] == [("mul", True), ("div", False)]


def test_marks_of_an_unknown_kind_and_solutions_in_the_folder_are_refused(folder, tmp_path, capsys):
    assert main(["course", "check", "mul", "--dir", str(folder), "--marks", str(tmp_path / "m.txt")]) == 2
    assert "use .json, .csv or .xml" in capsys.readouterr().err
    assert main(["course", "publish", str(folder), "--solutions", str(folder / "s.zip")]) == 2
    assert "students would get it" in capsys.readouterr().err
    assert not (folder / "s.zip").exists()
