"""`finetune instructions`: a model that follows instructions."""

import os
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from tinygrad_gpt.cli.options import PositiveInt, common_options, printable
from tinygrad_gpt.cli.resuming import require
from tinygrad_gpt.cli.sections import SectionedCommand, section
from tinygrad_gpt.cli.tuning import tune, tuning_options

__all__ = ["command"]


@click.command(name="instructions", cls=SectionedCommand)
@tuning_options("Entries with instruction, input and output", epochs=2, lr=2e-3)
@section("What is trained")("--loss-on", type=click.Choice(["all", "response"]), default="all",
                            help="Tokens that the model learns to predict: all, as in the book, or the response and "
                                 "its end.")
@section("Watching")("--show-mask", type=PositiveInt(1000), metavar="N",
                     help="Print the tokens of the first N entries, those that count in the loss in colour or between "
                          "double brackets, and train nothing.")
@common_options
@click.pass_context
def command(ctx: click.Context, out: Path | None, resume: bool, show_mask: int | None, **settings: Any) -> None:
    """Train a model to follow instructions.

    The first 85 % of the entries are trained on; the next 10 % are left for `evaluate instructions --part test`; the
    rest validates. A run that was stopped goes on with --resume.
    """
    from tinygrad_gpt.recipes.instructions import instruct

    if show_mask is not None:
        require(ctx, data=settings["data"])
        _print_mask(instruct.masked_tokens(instruct.InstructConfig(**settings), show_mask))
        return
    tune(ctx, instruct.InstructConfig, instruct.finetune_instructions, instruct.resume_instructions, out, resume,
         settings)


def _print_mask(entries: Sequence[Sequence[tuple[str, bool]]]) -> None:
    """Each entry with "|" between its tokens."""
    colour = sys.stdout is not None and sys.stdout.isatty() and "NO_COLOR" not in os.environ
    for number, tokens in enumerate(entries, start=1):
        counted = [place for place, (_, counts) in enumerate(tokens, start=1) if counts]
        follow = f", {len(tokens) - counted[-1]:,} of padding follow" if counted[-1] < len(tokens) else ""
        print(f"{'' if number == 1 else chr(10)}--- entry {number}: {len(counted):,} of {counted[-1]:,} tokens "
              f"count{follow}")
        runs = []
        for counts, run in groupby(tokens, key=lambda token: token[1]):
            shown = [printable(token, keep="\n\t") for token, _ in run]
            if counts:
                runs.append(_marked("|".join(shown), colour))
            else:
                padding = len(shown) > 1 and len(set(shown)) == 1
                runs.append(f"{shown[0]} × {len(shown)}" if padding else "|".join(shown))
        print("|".join(runs), flush=True)


def _marked(text: str, colour: bool) -> str:
    """In green where a terminal can show it; each line by itself, so that a pager shows it as well."""
    return "\n".join(click.style(line, fg="green", bold=True) for line in text.split("\n")) if colour else f"[[{text}]]"
