"""A repository for a class: its workflow, its syllabus, and the archive of solutions beside it."""

import re
import zipfile
from pathlib import Path

import pytest

from tinygrad_gpt.course.exercises import EXERCISES, WEEKS
from tinygrad_gpt.course.publish import PACKAGE, publish, write_solutions
from tinygrad_gpt.course.solutions import solution
from tinygrad_gpt.errors import UsageError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("class") / "gradients"
    publish(path)
    return path


def test_each_exercise_is_a_step_of_the_workflow_with_its_points(folder):
    text = (folder / ".github/workflows/classroom.yml").read_text(encoding="utf-8")
    steps = re.findall(r"test-name: (\w+)\n +command: python -m tinygrad_gpt course check (\w+)\n +timeout: 2\n"
                       r" +max-score: (\d+)", text)
    assert steps == [(each.name, each.name, str(each.points)) for each in EXERCISES]
    assert re.findall(r"(\w+)_RESULTS: \"\$\{\{steps\.(\w+)\.outputs\.result\}\}\"", text) == [
        (each.name.upper(), each.name) for each in EXERCISES]
    assert "runners: " + ",".join(each.name for each in EXERCISES) in text


def test_the_workflow_is_yaml(folder):
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    workflow = yaml.safe_load((folder / ".github/workflows/classroom.yml").read_text(encoding="utf-8"))
    steps = workflow["jobs"]["run-autograding-tests"]["steps"]
    assert [step["id"] for step in steps if "id" in step] == [each.name for each in EXERCISES]
    assert sum(step["with"].get("max-score", 0) for step in steps if "with" in step) == sum(
        each.points for each in EXERCISES)


def test_the_syllabus_has_all_points_and_the_weeks_of_the_plan(folder):
    text = (folder / "SYLLABUS.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| (\d+) \|", text, re.MULTILINE)
    assert {name: (int(week), int(points)) for week, name, points in rows} == {
        each.name: (WEEKS[each.name], each.points) for each in EXERCISES}
    assert f"{len(EXERCISES)} exercises, {sum(each.points for each in EXERCISES)} points" in text


def test_the_weeks_are_those_of_the_plan():
    plan = (Path(__file__).parents[2] / "course" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| [^|]* \| ([^|]*) \|", plan, re.MULTILINE)
    assert {name: int(week) for week, names in rows for name in re.findall(r"`(\w+)`", names)} == WEEKS


def test_what_grades_is_pinned_or_named(folder, tmp_path):
    assert (folder / "requirements.txt").read_text(encoding="utf-8") == f"{PACKAGE}\n"
    publish(tmp_path / "own", "./tinygrad_gpt.whl")
    assert (tmp_path / "own/requirements.txt").read_text(encoding="utf-8") == "./tinygrad_gpt.whl\n"


def test_no_file_is_overwritten(folder):
    (folder / "01_mul.py").write_text("mine", encoding="utf-8")
    (folder / "SYLLABUS.md").write_text("ours", encoding="utf-8")
    assert publish(folder) == ["SYLLABUS.new.md"]
    assert (folder / "01_mul.py").read_text(encoding="utf-8") == "mine"
    assert (folder / "SYLLABUS.md").read_text(encoding="utf-8") == "ours"


def test_solutions_go_into_an_archive_outside(folder, tmp_path):
    write_solutions(tmp_path / "solutions.zip", folder)
    with zipfile.ZipFile(tmp_path / "solutions.zip") as file:
        assert {name: file.read(name).decode() for name in file.namelist()} == {
            each.file: solution(each) for each in EXERCISES}
    for inside in (folder / "s.zip", folder / "more" / ".." / "s.zip"):
        with pytest.raises(UsageError, match="students would get it; name a file outside"):
            write_solutions(inside, folder)
