"""`course check`: marks for the exercises of a folder."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinygrad_gpt.cli.options import common_options, echo, print_json

if TYPE_CHECKING:
    from tinygrad_gpt.course.exercises import Exercise
    from tinygrad_gpt.course.folder import Folder
    from tinygrad_gpt.course.grade import Grade

__all__ = ["command", "report"]


@click.command(name="check")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--dir", "exercises", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", default=".",
              help="Folder of exercises, or of a class: one that holds students' folders.  [default: this one]")
@click.option("--marks", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Write the marks into a file, too: .json, .csv, or .xml for JUnit's.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON per exercise.")
@common_options
def command(names: tuple[str, ...], exercises: Path, marks: Path | None, as_json: bool) -> None:
    """Grade the named exercises, or all, of a student or of a class. Exits with 1 if one is not right yet."""
    from tinygrad_gpt.course.exercises import EXERCISES, exercise
    from tinygrad_gpt.course.folder import opened, opened_class
    from tinygrad_gpt.course.marks import check_kind, write_class_marks, write_marks

    if marks is not None:
        check_kind(marks)
    students = opened_class(exercises)
    chosen = [exercise(name) for name in names] or EXERCISES
    graded = {}
    for folder in students or [opened(exercises)]:
        if students and not as_json:
            echo(folder.student)
        graded[folder.student] = _graded(folder, chosen, as_json)
    right = [all(grade.passed for grade in grades) for grades in graded.values()]
    if students and not as_json:
        echo(f"students with all points: {sum(right)} of {len(right)}")
    if marks is not None and students:
        write_class_marks(marks, graded)
    elif marks is not None:
        write_marks(marks, *next(iter(graded.items())))
    if not all(right):
        click.get_current_context().exit(1)


def _graded(folder: "Folder", chosen: Sequence["Exercise"], as_json: bool) -> list["Grade"]:
    """The grades of a student, printed one after the other, and their sum."""
    from tinygrad_gpt.course.grade import grade

    grades = []
    for each in chosen:
        grades.append(grade(each, folder.file(each), folder.blank(each)))
        if as_json:
            print_json({**asdict(grades[-1]), "passed": grades[-1].passed, "student": folder.student})
        else:
            report(grades[-1])
    if len(grades) > 1 and not as_json:
        echo(f"{sum(g.points for g in grades)} of {sum(g.most for g in grades)} points")
    return grades


def report(grade) -> None:
    """Print a grade: one line, then why not all points, then what the student's code printed."""
    echo(f"{grade.name:22}{grade.points:3} of {grade.most:2}  {'right' if grade.passed else grade.said[0]}")
    for line in grade.said[1:]:
        echo(f"{'':32}{line}")
    for line in grade.printed.splitlines()[:10]:
        echo(f"{'':10}printed: {line}")
