"""`pretrain`: a language model from plain text."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinygrad_gpt.cli.failures import stops_wait
from tinygrad_gpt.cli.options import NonNegativeInt, PositiveFloat, PositiveInt, UnitInterval, common_options, echo
from tinygrad_gpt.cli.progress import progress_shown

if TYPE_CHECKING:
    from tinygrad_gpt.train import Progress

__all__ = ["command"]


@click.command(name="pretrain")
@click.option("--data", required=True, multiple=True, metavar="FILE",
              help="Text to learn from (.txt, .txt.xz, .txt.gz); may be given several times.")
@click.option("--validation", multiple=True, metavar="FILE",
              help="Text to measure bits per byte on; may be given several times.")
@click.option("--vocab-size", type=PositiveInt(1_000_000), default=4096, show_default=True, help="Tokens to learn.")
@click.option("--n-ctx", type=PositiveInt(65_536), default=256, show_default=True, help="Longest sequence.")
@click.option("--n-embd", type=PositiveInt(65_536), default=192, show_default=True, help="Width.")
@click.option("--n-layer", type=PositiveInt(1000), default=4, show_default=True, help="Blocks.")
@click.option("--n-head", type=PositiveInt(1000), default=4, show_default=True, help="Attention heads.")
@click.option("--dropout", type=UnitInterval(), default=0.0, show_default=True, help="Dropout while training.")
@click.option("--steps", type=PositiveInt(), default=3000, show_default=True, help="Optimiser steps.")
@click.option("--batch-size", type=PositiveInt(65_536), default=16, show_default=True, help="Windows in a step.")
@click.option("--lr", type=PositiveFloat(1.0), default=2e-3, show_default=True, help="Highest learning rate.")
@click.option("--warmup", type=NonNegativeInt(), default=100, show_default=True, help="Steps of warm-up.")
@click.option("--weight-decay", type=UnitInterval(), default=0.1, show_default=True, help="Weight decay of AdamW.")
@click.option("--max-norm", type=PositiveFloat(), default=1.0, show_default=True, help="Gradients are clipped to it.")
@click.option("--seed", type=NonNegativeInt(), default=0, show_default=True,
              help="Seed of the weights, the windows and dropout.")
@click.option("--save-every", type=PositiveInt(), default=250, show_default=True, help="Steps between checkpoints.")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR",
              help="Folder for the model, its vocabulary, the log and the state to resume from.")
@click.option("--resume", is_flag=True, help="Continue the run in that folder; give the same settings.")
@common_options
@click.pass_context
def command(ctx: click.Context, out: Path, resume: bool, **settings: Any) -> None:
    """Train a language model on plain text."""
    from tinygrad_gpt.recipes.pretrain import PretrainConfig, pretrain

    config = PretrainConfig(**settings)
    with stops_wait(f"the state is saved in {out}; add --resume to the same command to go on") as stop_here, \
            progress_shown() as show:

        def report(progress: "Progress") -> None:
            show(progress)
            stop_here()

        saved = pretrain(config, out, resume=resume, report=report)
    figures = saved.provenance
    lines = [f"{figures['tokens_seen']:,} tokens seen, of {figures['tokens_in_data']:,} in the data"]
    if "bits_per_byte" in figures:
        lines += [f"{figures['bits_per_byte']:.4f} bits per byte on the validation text"]
    lines += [f"Written to {out}: model.h5, vocabulary.json, log.jsonl, state.h5",
              f"Use it: {ctx.find_root().info_name} finetune classifier --base {out} --data FILE --out DIR"]
    echo("\n".join(lines))
