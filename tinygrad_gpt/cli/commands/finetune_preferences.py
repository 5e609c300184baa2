"""`finetune preferences`: a model that prefers one response to another."""

from pathlib import Path
from typing import Any

import click

from tinygrad_gpt.cli.options import PositiveFloat, common_options
from tinygrad_gpt.cli.sections import SectionedCommand, section
from tinygrad_gpt.cli.tuning import tune, tuning_options

__all__ = ["command"]


@click.command(name="preferences", cls=SectionedCommand)
@tuning_options("Entries with instruction, input, chosen and rejected", epochs=1, lr=5e-5)
@section("Training")("--beta", type=PositiveFloat(), default=0.1,
                     help="Penalty for moving away from the starting model.")
@section("Training")("--log-probability", type=click.Choice(["mean", "sum"]), default="mean",
                     help="Of a response: mean over its tokens, as the book's author has it, or the article's sum.")
@common_options
@click.pass_context
def command(ctx: click.Context, out: Path | None, resume: bool, **settings: Any) -> None:
    """Train a model to prefer one response to another (DPO).

    Start from a model that follows instructions (--base). The first 85 % of the entries are trained on, the next 10 %
    are left for tests, the rest validates. A run that was stopped goes on with --resume.
    """
    from tinygrad_gpt.recipes.instructions import preferences

    tune(ctx, preferences.PreferenceConfig, preferences.finetune_preferences, preferences.resume_preferences, out,
         resume, settings)
