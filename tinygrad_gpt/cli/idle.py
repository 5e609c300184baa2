"""Options that change nothing beside others: a line says so. What contradicts another option is refused elsewhere."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from tinygrad_gpt.cli.resuming import given_settings
from tinygrad_gpt.cli.show import note

__all__ = ["DRAWING", "LORA", "SOURCE", "Idle", "note_idle"]


@dataclass(frozen=True)
class Idle:
    """Options that may be without effect.

    Args:
        names: of their parameters.
        when: whether they change nothing, given the values of all parameters.
        why: ends the line, "--rank: no effect without --train lora".
    """

    names: tuple[str, ...]
    when: Callable[[Mapping[str, Any]], bool]
    why: str


def note_idle(ctx: click.Context, rules: Sequence[Idle]) -> None:
    """Print a line for each rule that holds for options that were typed."""
    given = given_settings(ctx, ctx.params)
    for rule in rules:
        typed = [param.opts[0] for param in ctx.command.params if param.name in given and param.name in rule.names]
        if typed and rule.when(ctx.params):
            note(f"{', '.join(typed)}: no effect {rule.why}")


LORA = Idle(("rank", "alpha", "targets"), lambda given: given["train"] != "lora", "without --train lora")

SOURCE = Idle(("encoding", "skip_malformed"), lambda given: not given["file"], "without --file")

DRAWING = (
    Idle(("top_k", "top_p", "min_p", "seed"), lambda given: given["temperature"] == 0,
         "at temperature 0, which always takes the likeliest token"),
    Idle(("temperature", "top_p", "min_p", "seed"),
         lambda given: given["temperature"] > 0 and (given.get("top_k") == 1 or given["top_p"] == 0),
         "where --top-k or --top-p leaves one token to draw"),
)
