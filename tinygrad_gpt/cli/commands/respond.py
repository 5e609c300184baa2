"""`respond`: a model answers an instruction."""

import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from tinygrad_gpt.cli.idle import DRAWING, note_idle
from tinygrad_gpt.cli.options import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    UnitInterval,
    add_options,
    common_options,
    echo,
    print_json,
)
from tinygrad_gpt.cli.show import note
from tinygrad_gpt.errors import UsageError

if TYPE_CHECKING:
    from tinygrad_gpt.data.prompt_styles import Style
    from tinygrad_gpt.recipes.generate import Completion, Piece
    from tinygrad_gpt.runs.saved_model import SavedModel

__all__ = ["answering_options", "command", "load", "spoken"]


def answering_options(function: Callable) -> Callable:
    """Add what `respond` and `chat` share: `--model`, `--style`, and how a token is chosen."""
    return add_options(function, (
        click.option("--model", default=None, metavar="PATH|NAME",
                     help="A checkpoint, a run folder, or a shipped model.  [default: the shipped storyteller]"),
        click.option("--style", type=click.Choice(["alpaca", "phi3", "chat"]), default=None,
                     help="Marks around instruction and response.  [default: those that the model was tuned with]"),
        click.option("--max-new-tokens", type=PositiveInt(1_000_000), default=100, show_default=True,
                     help="Longest response, in tokens."),
        click.option("--temperature", type=NonNegativeFloat(), default=0.0, show_default=True,
                     help="0 always takes the likeliest token."),
        click.option("--top-p", type=UnitInterval(), default=0.95, show_default=True,
                     help="Draw from the likeliest tokens that together have probability P."),
        click.option("--seed", type=NonNegativeInt(), default=0, show_default=True, help="Seed of the draws."),
    ))


@click.command(name="respond")
@click.argument("instruction", metavar="INSTRUCTION")
@click.option("--input", "input_", default="", metavar="TEXT", help="What the instruction is about.")
@answering_options
@click.option("--votes", type=PositiveInt(10_000), default=None, metavar="N",
              help="Draw N responses and print one with the answer that most of them give; needs a --temperature.")
@click.option("--best-of", type=PositiveInt(10_000), default=None, metavar="N",
              help="Draw N responses and print the one that is likeliest per token; needs a --temperature.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
@common_options
def command(instruction: str, input_: str, model: str | None, style: str | None, as_json: bool,
            votes: int | None, best_of: int | None, **sampling: Any) -> None:
    """Answer an instruction.

    With --votes or --best-of several responses are drawn and one is printed. The answer of a response is its last
    number, or, without a number, all of it.
    """
    if not instruction.strip():
        raise UsageError("empty instruction (arguments): there is nothing to answer; write what is to be done")
    if votes and best_of:
        raise UsageError("wrong usage (respond): both --votes and --best-of; leave one out")
    if max(votes or 1, best_of or 1) > 1 and not sampling["temperature"]:
        raise UsageError(f"{'--votes' if votes else '--best-of'} (arguments): at temperature 0 all responses are the "
                         "same; add --temperature 1, say")
    from tinygrad_gpt.recipes.generate import GenerateConfig, completions
    from tinygrad_gpt.recipes.instructions.respond import respond

    config = GenerateConfig(**sampling, n_samples=votes or best_of or 1)
    saved, marks = load(model, style)
    pieces = respond(saved, marks.prompt([marks.request(instruction, input_)]), marks, config)
    if votes or best_of:
        completion = _chosen(list(completions(pieces)), by_votes=bool(votes), as_json=as_json)
    elif as_json:
        completion = next(completions(pieces))
        print_json(asdict(completion))
    else:
        completion = spoken(pieces)
    note_idle(click.get_current_context(), DRAWING)
    if completion.truncated and not as_json:
        note(f"the prompt is longer than the {saved.n_ctx} tokens that the model reads; its beginning was not read")


def _chosen(drawn: "list[Completion]", by_votes: bool, as_json: bool) -> "Completion":
    """Print one of several responses, and on standard error why it was chosen; returns it."""
    from tinygrad_gpt.recipes.instructions.answers import best_of, majority

    choice = majority(drawn) if by_votes else best_of(drawn)
    if as_json:
        print_json(asdict(replace(choice.completion, text=choice.completion.text.strip()))
                   | {"answer": choice.answer, "score": choice.score, "answers": choice.answers})
    else:
        echo(choice.completion.text.strip())
        note(f"{choice.score:.0%} of {len(drawn)} responses give this answer" if by_votes else
             f"the likeliest of {len(drawn)} responses, {choice.score:.3f} nats per token")
    return choice.completion


def load(model: str | None, style: str | None) -> "tuple[SavedModel, Style]":
    """A model, and the style to speak with it."""
    from tinygrad_gpt.data.prompt_styles import find_style
    from tinygrad_gpt.recipes.instructions.respond import settled_style, style_name
    from tinygrad_gpt.runs.saved_model import SHIPPED_BASE, load_model

    saved = load_model(SHIPPED_BASE if model is None else model)
    own = style_name(saved)
    if own is None:
        note("the model was not tuned on instructions; it may not answer them")
    elif style not in (None, own):
        note(f"the model was tuned with the style {own}")
    return saved, find_style(settled_style(saved, style))


def spoken(pieces: "Iterable[Piece]") -> "Completion":
    """Print a response as it comes, without the white space around it; returns the whole."""
    from tinygrad_gpt.recipes.instructions.respond import trimmed

    completion, started = None, False
    try:
        for piece in trimmed(pieces):
            completion = piece.completion
            if piece.text:
                echo(piece.text, end="")
                started = True
    finally:
        if started or sys.exc_info()[0] is None:  # a message about an interruption gets a line of its own
            echo()
    assert completion is not None
    return completion
