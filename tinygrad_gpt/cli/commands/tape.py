"""`tape`: every node of a real training step."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinygrad_gpt.cli.options import common_options, echo, print_json
from tinygrad_gpt.cli.show import note
from tinygrad_gpt.cli.text_steps import asked_step, step_options, with_readable_ops, write_page
from tinygrad_gpt.errors import UsageError

if TYPE_CHECKING:
    from tinygrad_gpt.recipes.text_step import TextStep
    from tinygrad_gpt.study import TapeView

__all__ = ["command"]

RECORDINGS = 5  # of which --time prints the medians


@click.command(name="tape")
@step_options
@click.option("--frozen", is_flag=True, help="Train the last block and ln_f only, as fine-tuning does.")
@click.option("--time", "with_time", is_flag=True, help="Measure the time of each node, forward and back.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON per node.")
@click.option("--dot", "as_dot", is_flag=True, help="Print the graph for Graphviz.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE",
              help="Write a page that shows every value and every gradient.")
@click.option("--save", type=click.Path(path_type=Path), metavar="FILE",
              help="Write all values and gradients to an HDF5 file, for `compare`.")
@common_options
def command(model: str | None, text: str | None, label: str | None, frozen: bool, with_time: bool, as_json: bool,
            as_dot: bool, html: Path | None, save: Path | None) -> None:
    """Show what one training step records.

    The step is that of a model on a text (--text), or of a GPT-2 of two blocks, width 16, with dropout, on two
    sequences of eight tokens. For each node: the result's shape, the arrays kept for backward, and the file and line
    of its gradient.
    """
    if as_json and as_dot:
        raise UsageError("tape (--json, --dot): two formats asked for; use one of them")
    step = _step(model, text, label)
    if frozen:
        step.freeze()
    if html:
        with with_readable_ops():
            write_page(html, step)
    view = _view(step, with_time)
    if as_json:
        for node in view.nodes:
            print_json({**asdict(node), "bytes": node.bytes})
    else:
        echo(view.dot() if as_dot else str(view))
    if save:
        from tinygrad_gpt.recipes.saved_trace import save_trace
        from tinygrad_gpt.study.compare import records

        save_trace(save, records(step.trace()))
        note(f"values and gradients written to {save}")


def _step(model, text, label) -> "TextStep":
    if text is None and model is None and label is None:
        from tinygrad_gpt.recipes.text_step import tiny_step

        return tiny_step()
    return asked_step(model, text, label)


def _view(step: "TextStep", with_time: bool) -> "TapeView":
    from tinygrad_gpt.study import view_tape

    view = view_tape(step.compute(), step.parameters)
    if not with_time:
        return view
    seconds = iter(_medians(step.trace))
    return replace(view, nodes=tuple(replace(node, seconds=next(seconds)) if node.op else node for node in view.nodes))


def _medians(trace: Callable) -> list[tuple[float, float]]:
    """The time of each op, forward and back, in seconds: medians of several recordings."""
    from statistics import median

    runs = [[step.seconds for step in trace().ops] for _ in range(RECORDINGS)]
    return [(median(forward), median(back)) for forward, back in (zip(*times, strict=True) for times in
                                                                  zip(*runs, strict=True))]
