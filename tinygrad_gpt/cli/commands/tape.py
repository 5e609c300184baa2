"""`tape`: every node of a real training step of a tiny GPT-2."""

from dataclasses import asdict

import click

from tinygrad_gpt.cli.options import common_options, echo, print_json
from tinygrad_gpt.errors import UsageError

__all__ = ["command"]


@click.command(name="tape")
@click.option("--frozen", is_flag=True, help="Train the last block and ln_f only, as fine-tuning does.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON per node.")
@click.option("--dot", "as_dot", is_flag=True, help="Print the graph for Graphviz.")
@common_options
def command(frozen: bool, as_json: bool, as_dot: bool) -> None:
    """Show what one training step records.

    The model is a GPT-2 of two blocks, width 16, with dropout, on two sequences of eight tokens: for each node the
    result's shape, the arrays kept for backward, and the file and line of its gradient.
    """
    if as_json and as_dot:
        raise UsageError("tape (--json, --dot): two formats asked for; use one of them")
    view = tiny_step(frozen)
    if as_json:
        for node in view.nodes:
            print_json({**asdict(node), "bytes": node.bytes})
    else:
        echo(view.dot() if as_dot else str(view))


def tiny_step(frozen: bool):
    """The tape of one loss of a tiny GPT-2, a `TapeView`."""
    import numpy as np

    from tinygrad_gpt.backend import default_backend
    from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
    from tinygrad_gpt.study import view_tape

    model = GPT2(GPT2Config(vocab_size=50, n_ctx=8, n_embd=16, n_layer=2, n_head=2, dropout=0.1))
    if frozen:
        model.freeze()
        model.h[-1].freeze(False)
        model.ln_f.freeze(False)
    tokens = default_backend().from_numpy(np.random.default_rng(0).integers(0, 50, (2, 9)))
    loss = model.train().loss(tokens[:, :-1], tokens[:, 1:])
    return view_tape(loss, model.named_parameters())
