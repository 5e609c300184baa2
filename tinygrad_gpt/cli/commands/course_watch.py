"""`course watch`: marks at each save."""

import time
from pathlib import Path

import click

from tinygrad_gpt.cli.commands.course_check import report
from tinygrad_gpt.cli.options import common_options, echo

__all__ = ["command"]

PAUSE = 0.3  # seconds between two looks at the folder


@click.command(name="watch")
@click.argument("exercises", metavar="DIR", type=click.Path(path_type=Path, file_okay=False), default=".")
@common_options
def command(exercises: Path) -> None:
    """Grade an exercise each time its file is saved. Ctrl-C ends it."""
    from tinygrad_gpt.course.exercises import EXERCISES
    from tinygrad_gpt.course.folder import opened
    from tinygrad_gpt.course.grade import grade

    folder = opened(exercises)
    seen = {each.name: _saved(folder.file(each)) for each in EXERCISES}
    echo(f"watching {exercises}: save a file to have it graded, Ctrl-C ends it")
    while True:
        time.sleep(PAUSE)
        for each in EXERCISES:
            now = _saved(folder.file(each))
            if now != seen[each.name]:
                seen[each.name] = now
                report(grade(each, folder.file(each), folder.blank(each)))


def _saved(path: Path) -> int | None:
    """When a file was last saved; None while it is not there."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
