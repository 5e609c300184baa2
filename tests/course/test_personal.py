"""Exercises that differ by student: what is right for one is wrong for another, and a roster is read with care."""

import re

import numpy as np
import pytest

from tinygrad_gpt.cli import main
from tinygrad_gpt.course.blanks import blank_text, load
from tinygrad_gpt.course.exercises import EXERCISES, exercise
from tinygrad_gpt.course.folder import ABOUT, opened, start
from tinygrad_gpt.course.grade import SHARED, grade, judged
from tinygrad_gpt.course.personal import VARIATIONS, personal_text, roster
from tinygrad_gpt.course.solutions import right_bodies, with_pullbacks
from tinygrad_gpt.errors import DataError, UsageError

NAMES = [f"student{number}" for number in range(8)]


def judge(each, student, bodies):
    """What is said of these pullbacks in the exercise of one student."""
    blank = personal_text(each, blank_text(each), student)
    text = personal_text(each, with_pullbacks(each, bodies), student)
    with np.errstate(all="ignore"):
        return judged(each, load(text, each.name, "s"), load(blank, each.name, "f"), checks=SHARED)


@pytest.mark.parametrize("name", VARIATIONS)
def test_the_solution_of_all_fits_no_student_and_each_text_runs(name):
    each = exercise(name)
    texts = {student: personal_text(each, blank_text(each), student) for student in NAMES}
    assert len(set(texts.values())) >= 6
    assert all("    Yours:    " in text and text != blank_text(each) for text in texts.values())
    for student in NAMES[:3]:
        assert judge(each, student, right_bodies(each))


def test_the_gradient_of_one_student_is_wrong_for_another(tmp_path):
    each = exercise("tanh")
    texts = {student: personal_text(each, blank_text(each), student) for student in NAMES}
    solved = {}
    for student, text in texts.items():
        inside = text.split("y = ")[-1].splitlines()[0]  # c * xp.tanh(x) or xp.tanh(c * x)
        constant = re.search(r"1\.\d\d", inside)[0]
        solution = f"{constant} * g * (1 - (y / {constant}) ** 2)" if inside.startswith(constant) else (
            f"{constant} * g * (1 - y * y)")
        solved[student] = text.replace('raise NotImplementedError("the gradient of x")', f"return {solution}")
    path = tmp_path / each.file
    for student in NAMES[:3]:
        path.write_text(solved[student], encoding="utf-8")
        assert grade(each, path, texts[student]).said == ()
        other = next(name for name in NAMES if texts[name] != texts[student])
        assert grade(each, path, texts[other]).points == 0


def test_a_roster_makes_a_folder_for_each_student(tmp_path, capsys):
    (tmp_path / "roster.csv").write_text("name,student\nAda L.,ada\nBo,bo\n")
    assert main(["course", "start", str(tmp_path / "all"), "--personal", str(tmp_path / "roster.csv")]) == 0
    assert capsys.readouterr().out.startswith("2 folders in ")
    ada, bo = (opened(tmp_path / "all" / name) for name in ("ada", "bo"))
    assert (ada.student, ada.personal) == ("ada", True)
    assert [ada.blank(each) != bo.blank(each) for each in EXERCISES if not each.is_layer].count(True) > 12
    assert ada.file(exercise("gelu")).read_text() == ada.blank(exercise("gelu"))
    assert main(["course", "check", "gelu", "--dir", str(tmp_path / "all" / "ada")]) == 1
    assert "not written yet" in capsys.readouterr().out
    assert start(tmp_path / "all" / "ada", "ada", personal=True) == []
    assert start(tmp_path / "all" / "ada") == []
    (tmp_path / "all" / "ada" / ABOUT).write_text((tmp_path / "all" / "bo" / ABOUT).read_text())
    with pytest.raises(UsageError, match="is the folder of bo"):
        start(tmp_path / "all" / "ada", "ada", personal=True)


def test_a_folder_of_all_does_not_become_personal(tmp_path):
    start(tmp_path, "ada")
    with pytest.raises(UsageError, match="its exercises are those of all students"):
        start(tmp_path, "ada", personal=True)


@pytest.mark.parametrize(("text", "names"), [
    ("ada\nbo\n", ["ada", "bo"]), ("\ufeffstudent\nada\n\nbo-2\n", ["ada", "bo-2"]),
    ("id,student\n1,ada@x.org\n", ["ada@x.org"])])
def test_rosters(tmp_path, text, names):
    (tmp_path / "roster.csv").write_text(text, encoding="utf-8")
    assert roster(tmp_path / "roster.csv") == names


@pytest.mark.parametrize(("text", "said"), [
    (b"", "it names no student"), (b"student\n", "it names no student"), (b"ada\nada\n", "line 2.*twice"),
    (b"student\n../bo\n", "line 2.*'../bo' cannot name a folder"), (b"a,student\n1\n", "line 2.*'' cannot name"),
    (b"student\nAda Lovelace\n", r"line 2\): 'Ada Lovelace' cannot name a folder; write letters, digits and "
     r"\. @ \+ - _, no spaces, first a letter, a digit or _, such as Ada_Lovelace"),
    (b"\xff\xfea", "save it as CSV in UTF-8"), (b"..\n", "'..' cannot name a folder; write .* _$"),
])
def test_bad_rosters_name_the_line(tmp_path, text, said):
    (tmp_path / "roster.csv").write_bytes(text)
    with pytest.raises(DataError, match=said):
        roster(tmp_path / "roster.csv")


def test_a_roster_names_the_students_alone(tmp_path, capsys):
    (tmp_path / "roster.csv").write_text("ada\n")
    assert main(["course", "start", str(tmp_path / "x"), "--student", "bo", "--personal",
                 str(tmp_path / "roster.csv")]) == 2
    assert "error: --student (arguments): --personal names the students" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
