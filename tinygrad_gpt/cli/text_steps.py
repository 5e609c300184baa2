"""What the commands share that look at one training step of a model on a text."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinygrad_gpt.cli.options import Settings, add_options
from tinygrad_gpt.cli.show import note
from tinygrad_gpt.errors import UsageError

if TYPE_CHECKING:
    from tinygrad_gpt.recipes.text_step import TextStep
    from tinygrad_gpt.study.explain import Explanation

__all__ = ["asked_step", "step_options", "with_readable_ops", "write_page"]

_OPTIONS = (
    click.option("--model", metavar="PATH|NAME", help="A checkpoint, a run folder, or a shipped model.  "
                                                      "[default: storyteller, where --text is given]"),
    click.option("--text", metavar="TEXT", help="The text that the model reads."),
    click.option("--label", metavar="LABEL", help="For a classifier: the right label.  [default: its own answer]"),
)


def step_options(function: Callable) -> Callable:
    """Add `--model`, `--text` and `--label`."""
    return add_options(function, _OPTIONS)


def asked_step(model: str | None, text: str | None, label: str | None) -> "TextStep":
    """The step that the three options name; a note says how much of the text was left out.

    Raises:
        UsageError: "--model (arguments): there is no text to read; give --text".
    """
    if text is None:
        given = "--model" if model else "--label" if label else "arguments"
        raise UsageError(f"{given} (arguments): there is no text to read; give --text")
    from tinygrad_gpt.recipes.text_step import text_step
    from tinygrad_gpt.runs.saved_model import SHIPPED_BASE, load_model

    step = text_step(load_model(SHIPPED_BASE if model is None else model), text, label)
    if step.left_out:
        note(f"the text is longer than the {len(step.tokens):,} tokens that the model reads; the last "
             f"{step.left_out:,} were left out")
    return step


def with_readable_ops():
    """The plain form of each op in this block, unless --ops asks for another, so that places are those to read."""
    from tinygrad_gpt.engine import using_ops

    return using_ops(click.get_current_context().ensure_object(Settings).ops or "plain")


def write_page(path: Path, step: "TextStep", explanation: "Explanation | None" = None) -> None:
    """Write the page of a step; a note says its size, and how much of it is sampled."""
    from tinygrad_gpt.files import write_atomic
    from tinygrad_gpt.recipes.step_page import page_of_step

    page = page_of_step(step, explanation)
    write_atomic(path, page.text.encode())
    sampled = f"; {page.sampled:,} arrays are shown by the largest number of each block" if page.sampled else ""
    note(f"{len(page.text) / 1e6:.1f} MB written to {path}{sampled}")
