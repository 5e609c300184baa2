"""`info`: what a model holds."""

from dataclasses import asdict

import click

from tinygrad_gpt.cli.options import common_options, echo, print_json

__all__ = ["command"]


@click.command(name="info")
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
@common_options
def command(model: str, as_json: bool) -> None:
    """Show a model's sizes, parameters, memory and FLOPs.

    MODEL is a checkpoint, a run folder, the folder of a published GPT-2, or a name.
    """
    from tinygrad_gpt.runs.saved_model import load_model

    saved = load_model(model)
    summary, base = saved.model.summary(), saved.base
    config, flops = base.config.to_dict(), base.flops_per_token()
    if as_json:
        print_json({"model": type(saved.model).__name__, "labels": list(saved.labels), "config": config,
                    "parameters": summary.size, "bytes": summary.memory, "flops_per_token": flops,
                    "tensors": [asdict(row) for row in summary.rows]})
        return
    echo(f"{type(saved.model).__name__}: " + ", ".join(f"{name} {value}" for name, value in config.items()))
    if saved.labels:
        echo(f"labels: {', '.join(saved.labels)}")
    echo(f"\n{summary}")
    echo(f"FLOPs per token, in a text of {config['n_ctx']:,} tokens: {flops:,} forward, {3 * flops:,} in training")
