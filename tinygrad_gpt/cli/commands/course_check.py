"""`course check`: marks for the exercises of a folder."""

from dataclasses import asdict
from pathlib import Path

import click

from tinygrad_gpt.cli.options import common_options, echo, print_json

__all__ = ["command", "report"]


@click.command(name="check")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--dir", "exercises", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", default=".",
              help="Folder of exercises.  [default: this one]")
@click.option("--marks", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Write the marks into a file, too: .json, .csv, or .xml for JUnit's.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON per exercise.")
@common_options
def command(names: tuple[str, ...], exercises: Path, marks: Path | None, as_json: bool) -> None:
    """Grade the named exercises, or all. Exits with 1 if one is not right yet."""
    from tinygrad_gpt.course.exercises import EXERCISES, exercise
    from tinygrad_gpt.course.folder import opened
    from tinygrad_gpt.course.grade import grade
    from tinygrad_gpt.course.marks import check_kind, write_marks

    if marks is not None:
        check_kind(marks)
    folder = opened(exercises)
    grades = []
    for each in [exercise(name) for name in names] or EXERCISES:
        grades.append(grade(each, folder.file(each), folder.blank(each)))
        if as_json:
            print_json({**asdict(grades[-1]), "passed": grades[-1].passed, "student": folder.student})
        else:
            report(grades[-1])
    if len(grades) > 1 and not as_json:
        echo(f"{sum(g.points for g in grades)} of {sum(g.most for g in grades)} points")
    if marks is not None:
        write_marks(marks, folder.student, grades)
    if not all(g.passed for g in grades):
        click.get_current_context().exit(1)


def report(grade) -> None:
    """Print a grade: one line, then why not all points, then what the student's code printed."""
    echo(f"{grade.name:22}{grade.points:3} of {grade.most:2}  {'right' if grade.passed else grade.said[0]}")
    for line in grade.said[1:]:
        echo(f"{'':32}{line}")
    for line in grade.printed.splitlines()[:10]:
        echo(f"{'':10}printed: {line}")
