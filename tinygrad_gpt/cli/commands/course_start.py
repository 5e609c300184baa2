"""`course start`: a folder of exercises."""

from pathlib import Path

import click

from tinygrad_gpt.cli.options import common_options, echo
from tinygrad_gpt.errors import UsageError

__all__ = ["command"]


@click.command(name="start")
@click.argument("exercises", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--student", metavar="ID", help="Whose folder it is.")
@click.option("--personal", metavar="FILE", help="CSV of students: a folder in DIR for each, with exercises that "
              "differ by student.")
@common_options
def command(exercises: Path, student: str | None, personal: str | None) -> None:
    """Write a folder in which the gradients of GPT-2 are yours to write.

    In a folder that is there already, what this version of the course has more is added; no file is overwritten.
    """
    from tinygrad_gpt.course.exercises import EXERCISES
    from tinygrad_gpt.course.folder import start

    if personal is not None:
        _start_all(exercises, student, personal)
        return
    written = start(exercises, student)
    echo(f"wrote {len(written)} files in {exercises}" if written else f"{exercises} is up to date")
    for name in written:
        if ".new" in name:
            echo(f"  {name}: the text of this exercise has changed; move your code into it, or keep yours")
    points = sum(each.points for each in EXERCISES)
    echo(f"{len(EXERCISES)} exercises, {points} points; begin with {EXERCISES[0].file}, then `course check "
         f"{EXERCISES[0].name} --dir {exercises}`")


def _start_all(exercises: Path, student: str | None, personal: str) -> None:
    """A folder for each student of a roster."""
    from tinygrad_gpt.course.folder import start_class
    from tinygrad_gpt.course.personal import roster

    if student is not None:
        raise UsageError("--student (arguments): --personal names the students; leave one of the two out")
    students = roster(Path(personal))
    start_class(exercises, students)
    echo(f"{len(students)} folders in {exercises}, one for each student, with exercises of their own; `course check "
         f"--dir {exercises}` grades all")
