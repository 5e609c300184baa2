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
@common_options
def command(model: str | None, out: Path) -> None:
    """Write a model as Hugging Face's transformers reads it."""
    from tinygrad_gpt.models.gpt2 import GPT2
    from tinygrad_gpt.recipes.export import export
    from tinygrad_gpt.runs.saved_model import SHIPPED_BASE, load_model

    saved = load_model(SHIPPED_BASE if model is None else model)
    names = export(saved, out)
    use = "AutoModelForSequenceClassification" if saved.labels else "AutoModelForCausalLM" \
        if isinstance(saved.base, GPT2) else "AutoModel"
    echo(f"Written to {out}: {', '.join(names)}\n"
         f'Use it: transformers.{use}.from_pretrained("{out}")')
