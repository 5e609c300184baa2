"""`gradcheck`: every gradient beside a central difference."""

import math
from dataclasses import asdict

import click

from tinygrad_gpt.cli.options import NonNegativeInt, Settings, common_options, echo, print_json

__all__ = ["command"]


@click.command(name="gradcheck")
@click.argument("names", metavar="[OP]...", nargs=-1)
@click.option("--seed", type=NonNegativeInt(), default=0, show_default=True, help="Seed of the samples.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON per check.")
@common_options
def command(names: tuple[str, ...], seed: int, as_json: bool) -> None:
    """Compare gradients with central differences.

    Checks the named ops, or all, in each of their forms, or in that of --ops. Exits with 1 if a relative error is
    above the limit.
    """
    from tinygrad_gpt.study.gradcheck import check_forms, check_table, summary
    from tinygrad_gpt.study.show import select_ops

    ops = click.get_current_context().ensure_object(Settings).ops
    forms = () if ops is None else (ops,)
    checks = [check for op in select_ops(names) for check in check_forms(op, seed, forms)]
    if as_json:
        for check in checks:
            numbers = {name: _finite(value) for name, value in asdict(check).items()}
            print_json({**numbers, "passed": check.passed()})
    else:
        echo(f"{check_table(checks)}\n\n{summary(checks)}")
    if not all(check.passed() for check in checks):
        click.get_current_context().exit(1)


def _finite(value):
    """JSON has no number for infinity and "not a number"."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
