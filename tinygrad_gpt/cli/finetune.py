"""`finetune`: one subcommand per task."""

import click

from tinygrad_gpt.cli.lazy import LazyGroup

__all__ = ["COMMANDS", "command"]

COMMANDS = {
    "classifier": ("tinygrad_gpt.cli.finetune_classifier", "Train a text classifier on labelled texts."),
}


@click.group(name="finetune", cls=LazyGroup, table=COMMANDS)
def command() -> None:
    """Train a pretrained model for a task."""
