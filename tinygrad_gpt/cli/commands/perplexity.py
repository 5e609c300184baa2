"""`perplexity`: how well a language model predicts a text."""

from collections.abc import Sequence

import click

from tinygrad_gpt.cli.options import PositiveInt, common_options, echo, print_json
from tinygrad_gpt.cli.progress import counting_bar
from tinygrad_gpt.cli.show import note

__all__ = ["command"]


@click.command(name="perplexity")
@click.option("--data", required=True, multiple=True, metavar="FILE",
              help="Text to predict (.txt, .txt.xz, .txt.gz); may be given several times.")
@click.option("--model", default=None, metavar="PATH|NAME",
              help="A checkpoint, a run folder, or a shipped model.  [default: the shipped storyteller]")
@click.option("--stride", type=PositiveInt(), default=None, metavar="N",
              help="Tokens from one window to the next: fewer give more context and take longer.  "
                   "[default: the model's context]")
@click.option("--max-windows", type=PositiveInt(), default=None, metavar="N",
              help="Sample about N evenly spaced windows.  [default: all]")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
@common_options
def command(data: Sequence[str], model: str | None, stride: int | None, max_windows: int | None,
            as_json: bool) -> None:
    """Measure how well a language model predicts a text.

    Each token but the first is predicted once, from at least the context minus the stride (less at the beginning of
    the text). The loss is in nats per token; bits per byte compare models with different vocabularies.
    """
    from tinygrad_gpt.recipes.pretraining.perplexity import perplexity
    from tinygrad_gpt.runs.saved_model import SHIPPED_BASE, load_model

    saved = load_model(SHIPPED_BASE if model is None else model)
    with counting_bar("window") as report:
        result = perplexity(saved, data, stride=stride, max_windows=max_windows, report=report)
    if saved.labels:
        note("the model is a classifier; its language model was measured")
    if as_json:
        print_json(result.to_dict())
        return
    figures = result.figures
    echo(f"{result.counts}\n"
         f"{figures.windows:,} windows of {figures.n_ctx:,} tokens, stride {figures.stride:,}\n"
         f"loss {figures.loss:.4f} nats per token, perplexity {figures.perplexity:,.2f}, "
         f"{figures.bits_per_byte:.4f} bits per byte")
