"""A student's folder: nothing in it is ever overwritten, and a folder of another version says what to do."""

import json

import pytest

from tinygrad_gpt.course import folder
from tinygrad_gpt.course.exercises import EXERCISES, exercise
from tinygrad_gpt.course.folder import ABOUT, opened, opened_class, start, start_class
from tinygrad_gpt.errors import DataError, UsageError


def contents(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_a_folder_has_a_file_for_each_exercise(tmp_path):
    written = start(tmp_path / "new" / "course", "ada")
    assert {*written, ABOUT} == {path.name for path in (tmp_path / "new" / "course").iterdir()}
    assert {each.file for each in EXERCISES} < set(written)
    assert opened(tmp_path / "new" / "course").student == "ada"


def test_starting_again_changes_nothing(tmp_path):
    start(tmp_path, "ada")
    (tmp_path / "01_mul.py").write_text("my work")
    (tmp_path / "README.md").write_text("my notes")
    before = contents(tmp_path)
    assert start(tmp_path, "ada") == []
    assert start(tmp_path) == []
    assert contents(tmp_path) == before


def test_a_lost_file_is_written_again(tmp_path):
    start(tmp_path)
    (tmp_path / "12_gelu.py").unlink()
    assert start(tmp_path) == ["12_gelu.py"]


def test_files_that_were_there_before_are_kept(tmp_path):
    (tmp_path / "01_mul.py").write_text("mine")
    assert "01_mul.new.py" in start(tmp_path)
    assert (tmp_path / "01_mul.py").read_text() == "mine"


def test_a_folder_of_another_version_says_what_to_do_and_loses_nothing(tmp_path, monkeypatch):
    start(tmp_path, "ada")
    (tmp_path / "12_gelu.py").write_text("my work")
    before = contents(tmp_path)
    old = folder.blank_text
    monkeypatch.setattr(folder, "blank_text", lambda each: old(each) + ("# new\n" if each.name == "gelu" else ""))
    with pytest.raises(UsageError, match=r"another version of the course \(.*\): `course start .*` adds what is new"):
        opened(tmp_path)
    assert start(tmp_path) == ["12_gelu.new.py"]
    after = contents(tmp_path)
    assert {name: data for name, data in after.items() if name in before and name != ABOUT} == {
        name: data for name, data in before.items() if name != ABOUT}
    assert opened(tmp_path).student == "ada"
    monkeypatch.setattr(folder, "blank_text", lambda each: old(each) + ("# newer\n" if each.name == "gelu" else ""))
    assert start(tmp_path) == ["12_gelu.new2.py"]


def test_the_folder_of_another_student_is_refused(tmp_path):
    start(tmp_path, "ada")
    with pytest.raises(UsageError, match=r"--student \(bo\): .* is the folder of ada"):
        start(tmp_path, "bo")


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"no course \(.*\): there is no course.json; `course start"):
        opened(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"version": "1", "student": "", "texts": {}}', '{"version": 1}', "\xff"])
def test_a_broken_file_about_the_course_is_named(tmp_path, text):
    start(tmp_path)
    (tmp_path / ABOUT).write_bytes(text.encode("latin-1"))
    before = contents(tmp_path)
    for call in (opened, start):
        with pytest.raises(DataError, match=r"cannot read \(.*course.json\)"):
            call(tmp_path)
    assert contents(tmp_path) == before


def test_what_a_folder_says_about_itself(tmp_path):
    start(tmp_path, "ada")
    about = json.loads((tmp_path / ABOUT).read_text())
    assert (about["version"], about["student"]) == (1, "ada")
    assert set(about["texts"]) == {each.name for each in EXERCISES}
    assert opened(tmp_path).file(exercise("mul")) == tmp_path / "01_mul.py"


def test_the_folders_of_a_class_are_opened_by_name(tmp_path):
    start_class(tmp_path, ["bo", "ada"])
    start(tmp_path / "cy")
    (tmp_path / "notes").mkdir()
    (tmp_path / "roster.csv").write_text("")
    assert [(each.student, each.personal) for each in opened_class(tmp_path)] == [
        ("ada", True), ("bo", True), ("cy", False)]
    assert opened_class(tmp_path / "ada") == []
    assert opened_class(tmp_path / "notes") == []


def test_the_folder_of_a_class_does_not_become_that_of_a_student(tmp_path):
    start_class(tmp_path, ["ada"])
    with pytest.raises(UsageError, match=r"folder of a class \(.*\): it holds the folder ada of a student; name"):
        start(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["ada"]
    with pytest.raises(UsageError, match=r"folder of a class \(.*\): .* give one of them, such as .*ada"):
        opened(tmp_path)
    with pytest.raises(UsageError, match=r"--personal \(.*\): it is the folder of one student, not of a class"):
        start_class(tmp_path / "ada", ["bo"])


def test_two_folders_of_one_student_are_refused(tmp_path):
    start(tmp_path / "a", "ada")
    start(tmp_path / "b", "ada")
    with pytest.raises(UsageError, match=r"two folders of ada \(.*a and .*b\): .*; move one of them away"):
        opened_class(tmp_path)
