"""`course accuse`: whether the wrong line was found."""

from pathlib import Path

import click

from tinygrad_gpt.cli.options import common_options, echo

__all__ = ["command"]


@click.command(name="accuse")
@click.argument("names", metavar="OP ARGUMENT", nargs=2)
@click.option("--dir", "exercises", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", default=".",
              help="Folder of the case.  [default: this one]")
@common_options
def command(names: tuple[str, str], exercises: Path) -> None:
    """Say whose gradient is wrong in a case of `course detective`. Exits with 1 if it is another."""
    from tinygrad_gpt.course.detective import accuse

    if accuse(exercises, *names):
        echo(f"right: it is the gradient of '{names[1]}' in {names[0]}")
        return
    echo(f"no: the gradient of '{names[1]}' in {names[0]} is right, or another is the cause")
    click.get_current_context().exit(1)
