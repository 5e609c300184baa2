"""`course publish`: a repository for a class."""

from pathlib import Path

import click

from tinygrad_gpt.cli.options import common_options, echo

__all__ = ["command"]


@click.command(name="publish")
@click.argument("exercises", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--package", default=None, metavar="SPEC",
              help="What pip installs to grade: a version, an address or a wheel in the repository.  "
                   "[default: this version of tinygrad-gpt]")
@click.option("--solutions", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Write the solutions into this zip archive, outside DIR.")
@common_options
def command(exercises: Path, package: str | None, solutions: Path | None) -> None:
    """Write a repository for a class.

    It has the exercises, a syllabus with the points, and a workflow with which GitHub Classroom grades each exercise
    in a step of its own. No file is overwritten.
    """
    from tinygrad_gpt.course.publish import PACKAGE, publish, write_solutions

    if solutions is not None:
        write_solutions(solutions, exercises)
    written = publish(exercises, package or PACKAGE)
    echo(f"wrote {len(written)} files in {exercises}" if written else f"{exercises} is up to date")
    if solutions is not None:
        echo(f"wrote the solutions into {solutions}")
