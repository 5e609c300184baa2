"""`compare`: the first step at which two runs differ."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinygrad_gpt.cli.options import Settings, common_options, echo
from tinygrad_gpt.cli.text_steps import asked_step, step_options
from tinygrad_gpt.errors import UsageError

if TYPE_CHECKING:
    from tinygrad_gpt.study.compare import Record

__all__ = ["command"]

CHOICES = {"form": ("composed", "plain", "fast", "compiled"),
           "dtype": ("float32", "float64"), "backend": ("numpy", "cupy")}


@click.command(name="compare")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@step_options
@common_options
def command(first: str, second: str, model: str | None, text: str | None, label: str | None) -> None:
    """Find the first step at which two runs differ.

    A and B are runs of one step of a model on a text: a form of the ops (composed, plain, fast), a precision
    (float32, float64), a backend (numpy, cupy), several of these with commas between, torch, or a file that
    `tape --save` wrote. For example: compare fast plain, compare float32 float64, compare step.h5 torch. Exits with 1
    if a value or a gradient differs by more than rounding.
    """
    from tinygrad_gpt.study.compare import compare, layers, limit_for

    runs = [_run(name, (first, second), model, text, label) for name in (first, second)]
    if first == "torch":  # it has other ops, so layers and parameters are compared
        runs = list(reversed(layers(runs[1], runs[0])))
    elif second == "torch":
        runs = list(layers(runs[0], runs[1]))
    comparison = compare(runs[0], runs[1], limit_for(*runs))
    echo(str(comparison))
    if comparison.value or comparison.gradient:
        click.get_current_context().exit(1)


def _run(name: str, both: tuple[str, str], model, text, label) -> "list[Record]":
    """The records of one run."""
    if Path(name).is_file():
        from tinygrad_gpt.recipes.saved_trace import load_trace

        return load_trace(name)
    chosen = _chosen(name)
    from tinygrad_gpt.backend import on_backend
    from tinygrad_gpt.engine import using_ops
    from tinygrad_gpt.recipes.torch_beside import torch_records
    from tinygrad_gpt.study.compare import records

    settings = click.get_current_context().ensure_object(Settings)
    # Where precisions are not what is compared, rounding is kept small.
    dtype = chosen.get("dtype") or ("float32" if any(Path(other).is_file() for other in both) else "float64")
    with on_backend(chosen.get("backend") or settings.backend), using_ops(chosen.get("form") or settings.ops or "fast"):
        step = asked_step(model, text, label)
        trace = step.trace(dtype)  # which leaves the parameters in this dtype
        if name != "torch":
            return records(trace)
        found = torch_records(step)
    if found is None:
        raise UsageError("torch (arguments): PyTorch is not installed, or the model reads texts in another way than "
                         "GPT-2; install torch, or compare other runs")
    return found


def _chosen(name: str) -> dict[str, str]:
    """The form, precision and backend that a name asks for."""
    chosen: dict[str, str] = {}
    for word in [] if name == "torch" else name.split(","):
        kind = next((kind for kind, words in CHOICES.items() if word in words), None)
        if kind is None or kind in chosen:
            known = ", ".join(word for words in CHOICES.values() for word in words)
            raise UsageError(f"cannot compare ({name}): neither a file nor a kind of run; use {known}, torch, or the "
                             "file of a saved tape")
        chosen[kind] = word
    return chosen
