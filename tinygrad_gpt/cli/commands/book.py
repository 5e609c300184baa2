"""`book`: what Raschka's book prints of GPT-2 with OpenAI's weights, computed with a model at hand."""

import click

from tinygrad_gpt.cli.options import common_options, echo

__all__ = ["command"]


@click.command(name="book")
@click.option("--model", default="gpt2", show_default=True, metavar="PATH|NAME",
              help="A model; the printed values are those of gpt2, which `download gpt2` fetches.")
@common_options
def command(model: str) -> None:
    """Compare a model with what the book prints of OpenAI's weights.

    Two continuations of "Every effort moves you", and the scores that a new head of two classes gives to "Do you have
    time" at each token, before it is trained.
    """
    from tinygrad_gpt.book.pretrained import as_printed
    from tinygrad_gpt.runs.saved_model import load_model

    saved = load_model(model)
    for printed in as_printed(saved.transformer, saved.tokenizer):
        echo(f"{printed.title}\n\n{_indented(printed.ours)}\n")
        echo("as the book prints it\n" if printed.same else f"the book prints\n\n{_indented(printed.book)}\n")


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.split("\n"))
