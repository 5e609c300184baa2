"""`generate`: a model continues texts."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from tinygrad_gpt.cli.idle import DRAWING, SOURCE, note_idle
from tinygrad_gpt.cli.options import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    UnitInterval,
    check_source,
    common_options,
    echo,
    opened,
    print_json,
)
from tinygrad_gpt.cli.show import note, note_special
from tinygrad_gpt.errors import UsageError

if TYPE_CHECKING:
    from tinygrad_gpt.recipes.generate import Piece

__all__ = ["command"]


@click.command(name="generate")
@click.argument("prompts", metavar="[PROMPT]...", nargs=-1)
@click.option("--file", metavar="PATH", help="Read the prompts from a file, - being standard input: one a line, or a "
                                             "column of a .csv, .tsv or .jsonl file.")
@click.option("--text-column", metavar="COLUMN", help="Column of the prompts in the file, by name or number from 1.")
@click.option("--encoding", default="utf-8", show_default=True, help="Encoding of the file.")
@click.option("--model", default=None, metavar="PATH|NAME",
              help="A checkpoint, a run folder, or a shipped model.  [default: the shipped storyteller]")
@click.option("--max-new-tokens", type=PositiveInt(1_000_000), default=200, show_default=True,
              help="Longest continuation, in tokens.")
@click.option("--temperature", type=NonNegativeFloat(), default=0.8, show_default=True,
              help="Below 1 keeps to likely tokens; 0 always takes the likeliest.")
@click.option("--top-k", type=PositiveInt(), default=None, help="Draw from the K likeliest tokens.  [default: all]")
@click.option("--top-p", type=UnitInterval(), default=0.95, show_default=True,
              help="Draw from the likeliest tokens that together have probability P; 1 is all.")
@click.option("--min-p", type=UnitInterval(), default=None,
              help="Draw from tokens at least P times as likely as the likeliest.  [default: all]")
@click.option("--repetition-penalty", type=PositiveFloat(), default=1.0, show_default=True,
              help="Above 1 makes tokens that the text has less likely.")
@click.option("--stop", multiple=True, metavar="TEXT", help="End before this text; may be given several times.")
@click.option("--seed", type=NonNegativeInt(), default=0, show_default=True, help="Seed of the draws.")
@click.option("--num-samples", "n_samples", type=PositiveInt(100_000), default=1, show_default=True,
              help="Continuations of each prompt.")
@click.option("--allow-special", is_flag=True,
              help="Read special tokens in the prompts, such as <|endoftext|>, as tokens; else they are text.")
@click.option("--ids", "by_ids", is_flag=True,
              help="The prompts are ids, such as \"5 17 99\", and so is what is written; the vocabulary is not read.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON per continuation.")
@common_options
def command(prompts: Sequence[str], file: str | None, text_column: str | None, encoding: str, model: str | None,
            by_ids: bool, as_json: bool, **settings: Any) -> None:
    """Continue a text.

    A text is read whole up to the model's context; beyond it, by its last tokens.
    """
    check_source("generate", "prompt", prompts, file, text_column)
    from tinygrad_gpt.recipes.generate import GenerateConfig, completions, stream
    from tinygrad_gpt.runs.saved_model import SHIPPED_BASE, load_model

    if by_ids and settings["stop"]:
        raise UsageError("--stop, --ids (arguments): a text to stop at has no meaning in ids; leave one out")
    config = GenerateConfig(**settings)
    saved = load_model(SHIPPED_BASE if model is None else model, by_ids)
    if file:
        from tinygrad_gpt.data.texts import read_texts

        prompts, _ = read_texts(opened(file), text_column, encoding=encoding)
    if not config.allow_special:
        note_special(saved.tokenizer, prompts, "--allow-special reads them as tokens")
    live = len(prompts) * config.n_samples == 1 and not as_json
    written = completions(_shown(prompts[0], stream(saved, prompts, config)) if live
                          else stream(saved, prompts, config))
    truncated = 0
    for number, completion in enumerate(written):
        truncated += completion.truncated
        if as_json:
            print_json(asdict(completion))
        elif not live:
            echo(("---\n" if number else "") + completion.prompt + completion.text)
    note_idle(click.get_current_context(), [*DRAWING, SOURCE])
    if saved.labels:
        note("the model is a classifier; its language model wrote this")
    if truncated:
        note(f"{truncated:,} of {number + 1:,} texts follow a prompt longer than the {saved.n_ctx} tokens that the "
             "model reads; its beginning was not read")


def _shown(prompt: str, pieces: Iterator["Piece"]) -> Iterator["Piece"]:
    """The pieces of one text, printed as they come, the prompt before the first."""
    started = False
    try:
        for piece in pieces:
            echo(piece.text if started else prompt + piece.text, end="")
            started = True
            yield piece
    finally:
        if started:  # also when it is interrupted: the message gets a line of its own
            echo()
