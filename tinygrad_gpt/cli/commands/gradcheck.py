"""`gradcheck`: every gradient beside a central difference."""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import asdict

import click

from tinygrad_gpt.cli.options import NonNegativeInt, Settings, common_options, echo, print_json
from tinygrad_gpt.cli.text_steps import asked_step, step_options
from tinygrad_gpt.errors import UsageError

__all__ = ["command"]


@click.command(name="gradcheck")
@click.argument("names", metavar="[OP|FILE:NAME]...", nargs=-1)
@step_options
@click.option("--seed", type=NonNegativeInt(), default=0, show_default=True, help="Seed of the samples.")
@click.option("--shape", "shapes", multiple=True, metavar="N,N", help="Shape of an argument of the function in FILE; "
              "once for each argument.  [default: 2,3]")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON per check.")
@common_options
def command(names: tuple[str, ...], model: str | None, text: str | None, label: str | None, seed: int,
            shapes: tuple[str, ...], as_json: bool) -> None:
    """Compare gradients with central differences.

    Checks the named ops, or all, in each of their forms, or in that of --ops; or every op of a real step of a model on
    a text (--text); or a function NAME of Tensors in a Python FILE, entry by entry, and an op in one also by the
    sweep, with each fault in words. Exits with 1 if a relative error is above the limit.

    The error of an op is relative to Σ|terms|, the products that its derivative along a direction adds up; that of an
    entry of a function is relative to the entry's gradient. An entry that is too small beside the rounding of the
    differences counts as not checked, neither right nor wrong.
    """
    of_file = [name for name in names if ":" in name]
    if shapes and not of_file:
        raise UsageError("--shape (arguments): there is no FILE:NAME whose arguments it could shape; leave it out")
    if names and (text is not None or model is not None or label is not None):
        raise UsageError("gradcheck (arguments): both names and a step (--model, --text) are given; use one of them")
    if of_file and len(names) > 1:
        raise UsageError("gradcheck (arguments): several names beside FILE:NAME; check one function at a time")
    if of_file:
        passed = _check_function(of_file[0], shapes, seed, as_json)
    elif text is not None or model is not None or label is not None:
        passed = _check_step(asked_step(model, text, label), seed, as_json)
    else:
        passed = _check_ops(names, seed, as_json)
    if not passed:
        click.get_current_context().exit(1)


def _check_ops(names: Sequence[str], seed: int, as_json: bool) -> bool:
    from tinygrad_gpt.ops import load_compiled
    from tinygrad_gpt.study.gradcheck import check_forms, check_table, summary
    from tinygrad_gpt.study.show import select_ops

    settings = click.get_current_context().ensure_object(Settings)
    if settings.gradients is None:
        with contextlib.suppress(UsageError):  # without numba the others are checked
            load_compiled()
    ops = settings.ops if settings.gradients is None else "plain"  # one's own functions are plain forms
    forms = () if ops is None else (ops,)
    checks = [check for op in select_ops(names) for check in check_forms(op, seed, forms)]
    if as_json:
        for check in checks:
            print_json({**_finite(asdict(check)), "passed": check.passed()})
    else:
        echo(f"{check_table(checks)}\n\n{summary(checks)}")
    return all(check.passed() for check in checks)


def _check_step(step, seed: int, as_json: bool) -> bool:
    """Check every op of one step of a model, in float64 and in float32."""
    from tinygrad_gpt.study.ledger import LIMITS, balances, directions, findings, ledger_table, tangents

    along, found = directions(step.parameters, seed), []
    for dtype in ("float32", "float64"):  # float64 last: it cannot be undone
        trace = step.trace(dtype)
        moved = tangents(trace, along)
        rows, wrong = balances(trace, moved), findings(trace, moved, LIMITS[dtype])
        found += wrong
        if as_json:
            for row in rows:
                print_json(_finite({"dtype": dtype, "step": row.step.number, "op": row.step.label,
                                    "module": row.step.module, "out": row.out, "error": row.error, "into": _finite({
                                        row.step.argument(i): value for i, value in row.into.items()})}))
        elif dtype == "float64":
            echo(f"{ledger_table(rows)}\n")
        worst = max(rows, key=lambda row: row.error)
        if not as_json:
            echo(f"{dtype}: {len(rows)} ops, worst relative error {worst.error:.1e} of Σ|terms| "
                 f"(step {worst.step.number}, op {worst.step.label}), limit {LIMITS[dtype]:.0e}: "
                 f"{len(wrong) or 'none'} wrong")
            for finding in wrong:
                echo(f"  {finding}")
    return not found


def _check_function(place: str, shapes: Sequence[str], seed: int, as_json: bool) -> bool:
    from tinygrad_gpt.study.own_function import OpCheck, check_own_function

    check = check_own_function(place, [_shape(text) for text in shapes], seed)
    if as_json:
        for entry in check.entries:
            print_json({**_finite({**asdict(entry), "error": entry.error}), "passed": entry.passed(check.limit)})
        for finding in check.findings if isinstance(check, OpCheck) else ():
            print_json({**asdict(finding), "passed": False})
    else:
        echo(str(check))
    return bool(check)


def _shape(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isascii() and part.isdigit() and 0 < int(part) <= 1000 for part in parts):
        raise UsageError(f"--shape ({text}): not whole numbers from 1 to 1000 with commas between; such as 2,3")
    return tuple(map(int, parts))


def _finite(values: dict) -> dict:
    """JSON has no number for infinity and "not a number"."""
    return {name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in values.items()}
