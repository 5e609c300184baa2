"""What `finetune instructions`, `preferences` and `reward` share: their options, and how a run is shown."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tinygrad_gpt.cli.idle import LORA, note_idle
from tinygrad_gpt.cli.options import NonNegativeInt, PositiveFloat, PositiveInt, UnitInterval, add_options, echo
from tinygrad_gpt.cli.resuming import given_settings, require, resumable
from tinygrad_gpt.cli.sections import attention_option, precision_option, section, shard_option
from tinygrad_gpt.cli.show import note_half_precision

__all__ = ["tune", "tuning_options"]


data, start, model, training, watching, folder = map(section, (
    "Data", "Model to start from", "What is trained", "Training", "Watching", "Folder"))


def tuning_options(data_help: str, epochs: int, lr: float) -> Callable[[Callable], Callable]:
    """Add the options for all fields of `TuningConfig`, `--out` and `--resume`; some differ in text or default."""
    options = (
        data("--data", metavar="FILE", help=f"{data_help}, a list in .json, or one a line in .jsonl; required."),
        data("--skip-malformed", is_flag=True, help="Count malformed entries instead of refusing the file."),
        data("--style", type=click.Choice(["alpaca", "phi3", "chat"]),
             help="Marks around instruction and response.  [default: those that the base was tuned with, or alpaca]"),
        start("--base", default="storyteller", metavar="MODEL",
              help="A checkpoint, a folder, a shipped model, or gpt2 once downloaded."),
        model("--train", type=click.Choice(["all", "lora"]), default="all", help="All layers, or updates of low rank."),
        model("--rank", type=PositiveInt(65_536), default=16, help="Rank of LoRA's updates."),
        model("--alpha", type=PositiveFloat(), default=16.0, help="LoRA's updates are multiplied by alpha / rank."),
        model("--targets", default="q,k,v,attn.c_proj,mlp.c_fc,mlp.c_proj", metavar="LAYERS",
              help="Layers that LoRA adapts."),
        training("--epochs", type=PositiveInt(10_000), default=epochs, help="Passes over the entries."),
        training("--batch-size", type=PositiveInt(4096), default=8, help="Entries computed together."),
        training("--accumulate", type=PositiveInt(4096), default=1, help="Batches in an optimiser step."),
        training("--lr", type=PositiveFloat(1.0), default=lr,
                 help="Highest learning rate; the larger the model, the lower: the book takes 5e-5 for GPT-2, and a "
                      "tenth of that for preferences."),
        training("--schedule", type=click.Choice(["cosine", "constant"]), default="cosine",
                 help="Course of the learning rate; the cosine has a warm-up."),
        training("--weight-decay", type=UnitInterval(), default=0.1, help="Weight decay of AdamW."),
        training("--max-norm", type=PositiveFloat(), default=1.0, help="Gradients are clipped to it."),
        training("--dropout", type=UnitInterval(), default=0.0, help="Dropout while training."),
        precision_option(training),
        attention_option(training),
        shard_option(training),
        training("--seed", type=NonNegativeInt(), default=123, help="Seed of the order, dropout and LoRA."),
        watching("--eval-every", type=PositiveInt(), default=50, help="Steps between evaluations."),
        watching("--samples", type=NonNegativeInt(1000), default=3,
                 help="Validation entries to answer at each evaluation, into samples.txt."),
        folder("--out", type=click.Path(path_type=Path), metavar="DIR",
               help="Folder for settings, states, log, samples and model; required."),
        folder("--save-every", type=PositiveInt(), default=50, help="Steps between states to resume from."),
        folder("--float16", is_flag=True, help="Store the weights of the model in half precision."),
        folder("--resume", is_flag=True, help="Go on with the run in that folder; it knows its settings."),
    )

    return lambda function: add_options(function, options)


def tune(ctx: click.Context, kind: type, start: Callable, go_on: Callable, out: Path | None, resume: bool,
         settings: dict[str, Any]) -> None:
    """Start or resume a run and say what came of it.

    Args:
        kind: the config dataclass.
        start, go_on: the recipe's two functions.
    """
    require(ctx, **({} if resume else {"data": settings["data"]}), out=out)
    assert out is not None
    note_half_precision(settings["precision"])
    with resumable(ctx, out) as (report, stop_here):
        if resume:
            saved = go_on(out, given_settings(ctx, settings), report=report, ready=stop_here)
        else:

            def ready() -> None:
                note_idle(ctx, [LORA])
                stop_here()

            saved = start(kind(**settings), out, report=report, ready=ready)
    echo("\n".join(_summary(ctx, out, saved)))


def _summary(ctx: click.Context, out: Path, saved: Any) -> list[str]:
    figures = saved.provenance
    names = [name.replace("_", " ") for name in figures["before"]]
    lines = [figures["counts"], f"{figures['trained']:,} numbers trained of a model of {saved.model.size:,}"]
    lines += [f"{name}: {figures['before'][key]:.4f} before, {figures['after'][key]:.4f} after"
              for name, key in zip(names, figures["before"], strict=True)]
    files = ["model.h5", "log.jsonl", "curves.png"]
    files += ["samples.txt"] if (out / "samples.txt").exists() else []
    program = ctx.find_root().info_name
    return [*lines, f"Written to {out}: {', '.join(files)}",
            f"Use it: {program} respond --model {out} INSTRUCTION",
            f"        {program} evaluate instructions --model {out} --part test --data FILE --output FILE"]
