"""`fill`: the likeliest words for a hidden word."""

from collections.abc import Sequence
from dataclasses import asdict

import click

from tinygrad_gpt.cli.options import PositiveInt, common_options, echo, print_json
from tinygrad_gpt.cli.show import columns

__all__ = ["command"]


@click.command(name="fill")
@click.argument("texts", metavar="TEXT...", nargs=-1, required=True)
@click.option("--model", required=True, metavar="PATH|NAME",
              help="The folder of a published encoder with its masked-language head, such as bert-base-uncased.")
@click.option("--top", type=PositiveInt(1000), default=5, show_default=True, metavar="N",
              help="How many words to show for each hidden one.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON per text.")
@common_options
def command(texts: Sequence[str], model: str, top: int, as_json: bool) -> None:
    """Say which words may stand at [MASK] in a text.

    A text has [MASK], or RoBERTa's <mask>, where a word is hidden.
    """
    from tinygrad_gpt.recipes.fill import fill, load_masked_lm

    for number, filled in enumerate(list(fill(*load_masked_lm(model), texts, top))):
        if as_json:
            print_json(asdict(filled))
            continue
        echo(("\n" if number else "") + filled.text)
        for place, words in enumerate(filled.places, start=1):
            if len(filled.places) > 1:
                echo(f"word {place}")
            echo("\n".join(f"  {row}" for row in columns([(w.text, f"{w.probability:.3f}") for w in words])))
