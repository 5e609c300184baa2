"""`pretrain`: a language model from plain text."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinygrad_gpt.cli.idle import Idle, note_idle
from tinygrad_gpt.cli.options import (
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    UnitInterval,
    common_options,
    echo,
)
from tinygrad_gpt.cli.progress import PreparationLines
from tinygrad_gpt.cli.resuming import given_settings, require, resumable
from tinygrad_gpt.cli.sections import SectionedCommand, attention_option, precision_option, section, shard_option
from tinygrad_gpt.cli.show import note, note_half_precision

if TYPE_CHECKING:
    from tinygrad_gpt.runs.progress import Preparation, Progress

__all__ = ["command"]

IDLE = (
    Idle(("tokenizer", "qkv_bias", "tied_head", "init"), lambda given: given["base"] is not None,
         "beside --base, which brings its own"),
    Idle(("tokenizer",), lambda given: given["base"] is None and given["vocabulary"] is not None,
         "beside --vocabulary"),
)

data, vocabulary, model, training, watching, folder = map(section, (
    "Text", "Vocabulary", "Model", "Training", "Watching", "Folder"))


@click.command(name="pretrain", cls=SectionedCommand)
@data("--data", multiple=True, metavar="FILE",
      help="Text to learn from (.txt, .txt.xz, .txt.gz), required; may be given several times. A line <|endoftext|> "
           "ends a document.")
@data("--validation", multiple=True, metavar="FILE", help="Text to measure the model on; may be given several times.")
@data("--hold-out", type=UnitInterval(), default=0.0, metavar="SHARE",
      help="Hold the last share of each data file back to measure on, for example 0.1.")
@vocabulary("--tokenizer", type=click.Choice(["bpe", "characters"]), default="bpe", show_default=True,
            help="Vocabulary to learn: pieces of words of the training text, or all characters of all texts.")
@vocabulary("--vocab-size", type=PositiveInt(1_000_000),
            help="Tokens to learn.  [default: 4096, or all characters]")
@vocabulary("--vocabulary", metavar="PATH",
            help="Use this vocabulary instead: a saved model's, a file, gpt2, or a folder with vocab.json and "
                 "merges.txt.")
@model("--base", metavar="MODEL", help="Start from the weights, sizes and vocabulary of this model; "
       "it may grow to more blocks, by --n-layer, and a longer context, by --n-ctx.")
@model("--n-ctx", type=PositiveInt(65_536), help="Tokens in a window, and longest sequence.  [default: 256]")
@model("--n-embd", type=PositiveInt(65_536), help="Width.  [default: 192]")
@model("--n-layer", type=PositiveInt(1000), help="Blocks; with --base a multiple of its own.  "
       "[default: 4]")
@model("--n-head", type=PositiveInt(1000), help="Attention heads.  [default: 4]")
@model("--qkv-bias/--no-qkv-bias", default=True, help="Do queries, keys and values have a bias?  [default: yes]")
@model("--tied/--untied", "tied_head", default=True, help="Does the head share the token embedding?  [default: yes]")
@model("--init", type=click.Choice(["gpt2", "book"]), default="gpt2", show_default=True,
       help="Initial values: GPT-2's, or those of the book 'Build a Large Language Model (From Scratch)'.")
@model("--dropout", type=UnitInterval(), default=0.0, show_default=True, help="Dropout while training.")
@training("--windows", type=click.Choice(["random", "consecutive"]), default="random", show_default=True,
          help="Where windows of the text begin: anywhere, or every --stride tokens, shuffled for each epoch.")
@training("--stride", type=PositiveInt(), help="Tokens between consecutive windows.  [default: a window]")
@training("--batch-size", type=PositiveInt(65_536), default=16, show_default=True, help="Windows computed together.")
@training("--accumulate", type=PositiveInt(65_536), default=1, show_default=True,
          help="Batches in an optimiser step: as much text as one large batch, in less memory.")
@training("--steps", type=PositiveInt(), help="Optimiser steps.  [default: 3000]")
@training("--epochs", type=PositiveInt(1_000_000), help="Passes over the consecutive windows, instead of --steps.")
@training("--lr", type=PositiveFloat(1.0), default=2e-3, show_default=True, help="Highest learning rate.")
@training("--min-lr", type=PositiveFloat(1.0), help="Last learning rate.  [default: a tenth of the highest]")
@training("--warmup", type=NonNegativeInt(),
          help="Steps of warm-up.  [default: 100, or a tenth of the steps if that is less]")
@training("--beta2", type=UnitInterval(), default=0.99, show_default=True, help="Second decay rate of AdamW.")
@training("--weight-decay", type=UnitInterval(), default=0.1, show_default=True, help="Weight decay of AdamW.")
@training("--max-norm", type=PositiveFloat(), default=1.0, show_default=True, help="Gradients are clipped to it.")
@precision_option(training)
@attention_option(training)
@shard_option(training)
@training("--recompute", is_flag=True, help="Take less memory and more time: compute each block twice.")
@training("--seed", type=NonNegativeInt(), default=0, show_default=True,
          help="Seed of the weights, the windows, dropout and the samples.")
@watching("--eval-every", type=PositiveInt(), default=250, show_default=True, help="Steps between evaluations.")
@watching("--patience", type=NonNegativeInt(), default=0, metavar="N",
          help="End after N evaluations without a better one, and keep the best model.")
@watching("--sample", multiple=True, metavar="PROMPT",
          help="Let the model continue this text while it learns; may be given several times.")
@watching("--sample-every", type=PositiveInt(), help="Steps between samples.  [default: --eval-every]")
@folder("--out", required=True, type=click.Path(path_type=Path), metavar="DIR",
        help="Folder for all that the run is: settings, tokens, states, log, model.")
@folder("--save-every", type=PositiveInt(), default=250, show_default=True, help="Steps between checkpoints.")
@folder("--float16", is_flag=True, help="Store the weights of the model in half precision.")
@folder("--resume", is_flag=True, help="Go on with the run in that folder; it knows its settings.")
@common_options
@click.pass_context
def command(ctx: click.Context, out: Path, resume: bool, **settings: Any) -> None:
    """Train a language model on plain text."""
    from tinygrad_gpt.recipes.pretraining import pretrain as recipe

    if not resume:
        require(ctx, data=settings["data"])
    note_half_precision(settings["precision"])
    show_preparation = PreparationLines()
    with resumable(ctx, out) as (show, stop_here):

        def report(progress: "Progress") -> None:
            if progress.step == 1 and (settings["warmup"] or 0) >= progress.total:
                note(f"--warmup {settings['warmup']}: the run has {progress.total:,} steps, so that the learning rate "
                     "rises to the end and never falls")
            show(progress)

        def prepare(preparation: "Preparation") -> None:
            show_preparation(preparation)
            if preparation.what == "training":
                note_idle(ctx, () if resume else IDLE)
                stop_here()

        if resume:
            saved = recipe.resume(out, given_settings(ctx, settings), report=report, prepare=prepare)
        else:
            saved = recipe.pretrain(recipe.PretrainConfig(**settings), out, report=report, prepare=prepare)
    echo("\n".join(_summary(ctx, out, saved.provenance)))


def _summary(ctx: click.Context, out: Path, figures: dict[str, Any]) -> list[str]:
    lines = [f"{figures['tokens_seen']:,} tokens seen, of {figures['tokens_in_data']:,} in the data"]
    if "bits_per_byte" in figures:
        lines += [f"Validation text: loss {figures['validation_loss']:.4f} nats per token, perplexity "
                  f"{figures['perplexity']:.2f}, {figures['bits_per_byte']:.4f} bits per byte"]
    config = figures["config"]
    if "eval_every" in given_settings(ctx, ctx.params) and not (
            "bits_per_byte" in figures or (config["sample"] and config["sample_every"] is None)):
        lines += ["--eval-every had no effect: there is neither --validation nor --hold-out nor --sample"]
    if config["patience"]:
        lines += [f"The best model is that after step {figures['step']:,}"]
    program = ctx.find_root().info_name
    return [*lines, f"Written to {out}: model.h5, vocabulary.json, log.jsonl, curves.png",
            f"Use it: {program} generate --model {out} PROMPT",
            f"        {program} finetune classifier --base {out} --data FILE --out DIR"]
