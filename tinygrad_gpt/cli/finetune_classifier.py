"""`finetune classifier`: a text classifier from labelled texts."""

from pathlib import Path
from typing import Any

import click

from tinygrad_gpt.cli.options import NonNegativeInt, PositiveFloat, PositiveInt, UnitInterval, common_options, echo
from tinygrad_gpt.cli.progress import progress_shown
from tinygrad_gpt.cli.show import report_text

__all__ = ["command"]


@click.command(name="classifier")
@click.option("--data", required=True, metavar="FILE", help="Labelled texts: .csv, .tsv or .jsonl.")
@click.option("--text-column", metavar="COLUMN", help="Column of the texts, by name or number from 1.")
@click.option("--label-column", metavar="COLUMN", help="Column of the labels, by name or number from 1.")
@click.option("--encoding", default="utf-8", show_default=True, help="Encoding of the file.")
@click.option("--skip-malformed", is_flag=True, help="Count malformed rows instead of refusing the file.")
@click.option("--base", default="sms-spam", show_default=True, metavar="MODEL",
              help="Model to start from: a checkpoint, a shipped model, or 'random' for a small new one.")
@click.option("--train", type=click.Choice(["head", "last-block", "last-two-blocks", "all"]), default="all",
              show_default=True, help="What is trained besides the head.")
@click.option("--epochs", type=PositiveInt(10_000), default=6, show_default=True, help="Passes over the texts.")
@click.option("--batch-size", type=PositiveInt(4096), default=16, show_default=True, help="Texts in a step.")
@click.option("--lr", type=PositiveFloat(1.0), default=5e-4, show_default=True, help="Highest learning rate.")
@click.option("--weight-decay", type=UnitInterval(), default=0.1, show_default=True, help="Weight decay of AdamW.")
@click.option("--max-norm", type=PositiveFloat(), default=1.0, show_default=True, help="Gradients are clipped to it.")
@click.option("--dropout", type=UnitInterval(), default=0.2, show_default=True, help="Dropout while training.")
@click.option("--lm-weight", type=UnitInterval(), default=1.0, show_default=True,
              help="Weight of the language-model loss on the texts.")
@click.option("--seed", type=NonNegativeInt(), default=123, show_default=True,
              help="Seed of the head, the order of the texts and dropout.")
@click.option("--split-seed", type=NonNegativeInt(), default=123, show_default=True,
              help="Seed of the split into training, validation and test texts.")
@click.option("--float16", is_flag=True, help="Store the weights in half precision.")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR",
              help="Folder for the model, the log, the report and the pictures.")
@common_options
@click.pass_context
def command(ctx: click.Context, out: Path, **settings: Any) -> None:
    """Train a text classifier on labelled texts."""
    from tinygrad_gpt.recipes.finetune_classifier import FinetuneConfig, finetune_classifier

    with progress_shown() as report:
        result = finetune_classifier(FinetuneConfig(**settings), out, report)
    lines = [result.counts, f"{result.truncated:,} texts truncated to {result.saved.n_ctx - 1} tokens", ""]
    for title, figures in (("Validation", result.validation), ("Test", result.test)):
        lines += [title, report_text(figures), ""]
    if result.baseline:
        lines += [f"A bag of words with logistic regression on the same test texts: accuracy "
                  f"{result.baseline.accuracy:.4f}, F1 {result.baseline.f1:.4f}", ""]
    lines += [f"Written to {out}: model.h5, report.json, log.jsonl, curves.png, confusion.png",
              f"Use it: {ctx.find_root().info_name} classify --model {out} TEXT"]
    echo("\n".join(lines))
