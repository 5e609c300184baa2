"""`evaluate`: one subcommand per task; without one, a classifier is meant."""

import click

from tinygrad_gpt.cli.lazy import LazyGroup

__all__ = ["COMMANDS", "command"]

COMMANDS = {
    "classifier": ("tinygrad_gpt.cli.commands.evaluate_classifier", "Measure a classifier on labelled texts."),
    "instructions": ("tinygrad_gpt.cli.commands.evaluate_instructions", "Score responses to instructions."),
}


@click.group(name="evaluate", cls=LazyGroup, table=COMMANDS, default="classifier")
def command() -> None:
    """Measure a finetuned model.

    `evaluate --data FILE` is short for `evaluate classifier --data FILE`.
    """
