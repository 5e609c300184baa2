"""`average`: the mean of several models' weights."""

from pathlib import Path

import click

from tinygrad_gpt.cli.options import common_options, echo

__all__ = ["command"]


@click.command(name="average")
@click.argument("models", nargs=-1, required=True, metavar="MODEL MODEL…")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Folder for model.h5.")
@common_options
def command(models: tuple[str, ...], out: Path) -> None:
    """Average the weights of several finetuned models.

    They must come from the same base and differ in their seeds or settings only.
    """
    from tinygrad_gpt.recipes.average import average
    from tinygrad_gpt.recipes.export import store
    from tinygrad_gpt.runs.saved_model import load_model

    file = store(average([load_model(model) for model in models], models), out, "float32")
    echo(f"Written to {file}: the mean of {len(models)} models")
