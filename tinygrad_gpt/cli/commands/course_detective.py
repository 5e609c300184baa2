"""`course detective`: all gradients of GPT-2 with one wrong line."""

from pathlib import Path

import click

from tinygrad_gpt.cli.options import common_options, echo

__all__ = ["command"]


@click.command(name="detective")
@click.argument("exercises", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--student", metavar="ID", default="", help="For whom: each student gets another wrong line.")
@common_options
def command(exercises: Path, student: str) -> None:
    """Write all gradients of GPT-2 with one wrong line, to be found by measuring."""
    from tinygrad_gpt.course.detective import CODE, plant

    plant(exercises, student)
    echo(f"wrote {exercises / CODE}: one line is wrong; CASE.md says how to find it, `course accuse OP ARGUMENT --dir "
         f"{exercises}` whether you have")
