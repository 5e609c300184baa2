"""`finetune`: one subcommand per task."""

import click

from tinygrad_gpt.cli.lazy import LazyGroup

__all__ = ["COMMANDS", "command"]

COMMANDS = {
    "classifier": ("tinygrad_gpt.cli.commands.finetune_classifier", "Train a text classifier on labelled texts."),
    "instructions": ("tinygrad_gpt.cli.commands.finetune_instructions", "Train a model to follow instructions."),
    "preferences": ("tinygrad_gpt.cli.commands.finetune_preferences",
                    "Train a model to prefer one response to another (DPO)."),
    "reward": ("tinygrad_gpt.cli.commands.finetune_reward", "Train a model on whether its answers are right."),
}


@click.group(name="finetune", cls=LazyGroup, table=COMMANDS)
def command() -> None:
    """Train a pretrained model for a task."""
