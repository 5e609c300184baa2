"""`finetune reward`: a model that learns from whether its answers are right."""

from pathlib import Path
from typing import Any

import click

from tinygrad_gpt.cli.options import PositiveFloat, PositiveInt, common_options
from tinygrad_gpt.cli.sections import SectionedCommand, section
from tinygrad_gpt.cli.tuning import tune, tuning_options

__all__ = ["command"]

training = section("Training")


@click.command(name="reward", cls=SectionedCommand)
@tuning_options("Entries with instruction, input, and an output that ends in the right answer", epochs=1, lr=1e-4)
@training("--group", type=PositiveInt(256), default=8, help="Responses to each prompt, which are compared.")
@training("--temperature", type=PositiveFloat(), default=1.0, help="The responses are drawn with it.")
@training("--max-new-tokens", type=PositiveInt(1_000_000), default=64, help="Longest response, in tokens.")
@common_options
@click.pass_context
def command(ctx: click.Context, out: Path | None, resume: bool, **settings: Any) -> None:
    """Train a model on whether its answers are right.

    The answer of a response is its last number, or, without a number, all of it. Start from a model that follows
    instructions (--base) and is right now and then. The first 85 % of the entries are trained on, the next 10 % are
    left for tests, the rest validates. A run that was stopped goes on with --resume.
    """
    from tinygrad_gpt.recipes.instructions import reward

    tune(ctx, reward.RewardConfig, reward.finetune_reward, reward.resume_reward, out, resume, settings)
