"""`explain`: why one number of a gradient is what it is."""

from dataclasses import asdict
from pathlib import Path

import click

from tinygrad_gpt.cli.options import common_options, echo, print_json
from tinygrad_gpt.cli.text_steps import asked_step, step_options, with_readable_ops, write_page

__all__ = ["command"]


@click.command(name="explain")
@click.argument("entry", metavar="PARAMETER[INDEX]")
@step_options
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE",
              help="Write the page of the step, with this explanation.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
@common_options
def command(entry: str, model: str | None, text: str | None, label: str | None, html: Path | None,
            as_json: bool) -> None:
    """Say why one number of a gradient is what it is.

    Follows one entry of a parameter, such as "h.0.mlp.c_fc.weight[3,7]", through every op to the loss of a model on a
    text: what share of the derivative flows along each edge, which products it is made of, and where each gradient is
    defined. A central difference stands beside it, and PyTorch's gradient where PyTorch is installed.
    """
    step = asked_step(model, text, label)
    from tinygrad_gpt.recipes.torch_beside import torch_gradients
    from tinygrad_gpt.study.explain import explain, find_entry, numeric_derivative

    name, index = find_entry(entry, step.parameters)
    with with_readable_ops():
        trace = step.trace("float64")
        numeric = numeric_derivative(step.compute, dict(step.parameters)[name], index)
        by_torch = torch_gradients(step)
        explanation = explain(trace, name, index, numeric=numeric, tokens=step.tokens,
                              torch=None if by_torch is None else float(by_torch[name][index]))
        if html:
            write_page(html, step, explanation)
    if as_json:
        print_json({**asdict(explanation), "error": explanation.error})
    else:
        echo(str(explanation))
