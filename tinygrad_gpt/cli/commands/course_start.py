"""`course start`: a folder of exercises."""

from pathlib import Path

import click

from tinygrad_gpt.cli.options import common_options, echo

__all__ = ["command"]


@click.command(name="start")
@click.argument("exercises", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--student", metavar="ID", help="Whose folder it is.")
@common_options
def command(exercises: Path, student: str | None) -> None:
    """Write a folder in which the gradients of GPT-2 are yours to write.

    In a folder that is there already, what this version of the course has more is added; no file is overwritten.
    """
    from tinygrad_gpt.course.exercises import EXERCISES
    from tinygrad_gpt.course.folder import start

    written = start(exercises, student)
    echo(f"wrote {len(written)} files in {exercises}" if written else f"{exercises} is up to date")
    for name in written:
        if ".new" in name:
            echo(f"  {name}: the text of this exercise has changed; move your code into it, or keep yours")
    points = sum(each.points for each in EXERCISES)
    echo(f"{len(EXERCISES)} exercises, {points} points; begin with {EXERCISES[0].file}, then `course check "
         f"{EXERCISES[0].name} --dir {exercises}`")
