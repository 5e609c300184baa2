"""`course`: exercises for a student or a class, their marks, and a case for detectives."""

import click

from tinygrad_gpt.cli.lazy import LazyGroup

__all__ = ["COMMANDS", "command"]

COMMANDS = {
    "start": ("tinygrad_gpt.cli.commands.course_start", "Write a folder of exercises."),
    "check": ("tinygrad_gpt.cli.commands.course_check", "Grade the exercises of a folder."),
    "publish": ("tinygrad_gpt.cli.commands.course_publish", "Write a repository for a class."),
    "watch": ("tinygrad_gpt.cli.commands.course_watch", "Grade each exercise when it is saved."),
    "detective": ("tinygrad_gpt.cli.commands.course_detective", "Write a GPT-2 with one wrong gradient, to be found."),
    "accuse": ("tinygrad_gpt.cli.commands.course_accuse", "Say which gradient is wrong."),
}


@click.group(name="course", cls=LazyGroup, table=COMMANDS)
def command() -> None:
    """Write the gradients of GPT-2 yourself, graded at once."""
