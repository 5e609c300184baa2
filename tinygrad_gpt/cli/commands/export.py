"""`export`: a model in the files of GPT-2, for other programs."""

from pathlib import Path

import click

from tinygrad_gpt.cli.options import common_options, echo

__all__ = ["command"]


@click.command(name="export")
@click.option("--model", default=None, metavar="PATH|NAME",
              help="A language model or a classifier: a checkpoint, a run folder, or a name.  "
                   "[default: the shipped storyteller]")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR",
              help="Folder for config.json, model.safetensors, and the vocabulary.")
@click.option("--store", type=click.Choice(["float32", "float16", "int8"]),
              help="Write a checkpoint of this package instead, model.h5, with its weights in this form.")
@common_options
def command(model: str | None, out: Path, store: str | None) -> None:
    """Write a model as Hugging Face's transformers reads it.

    With --store it stays a model of this package: int8 takes a quarter of
    float32, with a scale for each row of a matrix.
    """
    from tinygrad_gpt.models.gpt2 import GPT2
    from tinygrad_gpt.recipes import export as recipe
    from tinygrad_gpt.runs.saved_model import SHIPPED_BASE, load_model

    saved = load_model(SHIPPED_BASE if model is None else model)
    if store is not None:
        file = recipe.store(saved, out, store)
        echo(f"Written to {file}: {file.stat().st_size:,} bytes, weights in {store}")
        return
    names = recipe.export(saved, out)
    use = "AutoModelForSequenceClassification" if saved.labels else "AutoModelForCausalLM" \
        if isinstance(saved.base, GPT2) else "AutoModel"
    echo(f"Written to {out}: {', '.join(names)}\n"
         f'Use it: transformers.{use}.from_pretrained("{out}")')
