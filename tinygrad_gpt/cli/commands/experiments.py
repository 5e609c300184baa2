"""`experiments`: the book's experiments on finetuning, on any model, with a report."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinygrad_gpt.cli.idle import Idle, note_idle
from tinygrad_gpt.cli.options import PositiveFloat, PositiveInt, common_options, echo
from tinygrad_gpt.cli.progress import progress_shown
from tinygrad_gpt.cli.show import columns, note

if TYPE_CHECKING:
    from tinygrad_gpt.recipes.experiments.experiments import ExperimentsConfig
    from tinygrad_gpt.runs.progress import Progress

__all__ = ["command"]


def _starts(rows: str) -> set[bool]:
    """Whether some rows start from a model, and whether some start from random weights: the values of "is random"."""
    from tinygrad_gpt.book.experiments import rows_named

    return {row.model == "random" for row in rows_named(rows)}


IDLE = (
    Idle(("family_text", "family_steps"), lambda given: given["base"] != "family", "without --base family"),
    Idle(("base",), lambda given: _starts(given["rows"]) == {True}, "without a row that starts from a model"),
    Idle(("vocabulary",), lambda given: _starts(given["rows"]) == {False}, "without a row of random weights"),
)


@click.command(name="experiments")
@click.option("--data", required=True, metavar="FILE",
              help="Texts of two classes: SMSSpamCollection, or for rows 20-23 the 50,000 reviews of IMDb.")
@click.option("--rows", default="1-19", show_default=True,
              help="Rows of the book author's tables: 1-5,10, or names; 20-23 are of film reviews.")
@click.option("--base", default="storyteller", show_default=True, metavar="MODEL",
              help="Model that all rows start from but those of random weights; 'table': each row from its own, as in "
                   "the book; a folder with models of those names; 'family': small models of those names, trained "
                   "alike on --family-text first.")
@click.option("--family-text", multiple=True, metavar="FILE",
              help="Text to train the family on; may be given several times.")
@click.option("--family-steps", type=PositiveInt(), default=1000, show_default=True,
              help="Optimiser steps of each model of the family.")
@click.option("--vocabulary", default="gpt2", show_default=True, metavar="PATH",
              help="GPT-2's vocabulary, for rows of random weights: a model, or a folder with its files; gpt2 ships.")
@click.option("--seeds", default="123", show_default=True, help="Seeds of each row: 123,124,125.")
@click.option("--epochs", type=PositiveInt(10_000), default=5, show_default=True, help="Passes over the texts.")
@click.option("--lr", type=PositiveFloat(1.0), default=5e-5, show_default=True, help="Learning rate.")
@click.option("--jobs", type=PositiveInt(1024), default=1, show_default=True,
              help="Runs at the same time, each in a process with its share of the cores (with joblib).")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder for the runs and the report.")
@click.option("--resume", is_flag=True, help="Go on in a folder with experiments: what is finished is not run again.")
@click.option("--dry-run", is_flag=True, help="List the rows, what they train and the memory they take, and stop.")
@common_options
@click.pass_context
def command(ctx: click.Context, out: Path | None, resume: bool, dry_run: bool, jobs: int, rows: str, seeds: str,
            **settings: Any) -> None:
    """Repeat the book author's experiments on finetuning."""
    from tinygrad_gpt.book.experiments import rows_named, seeds_named
    from tinygrad_gpt.recipes.experiments.experiments import ExperimentsConfig

    config = ExperimentsConfig(rows=rows_named(rows), seeds=seeds_named(seeds), **settings)
    if dry_run:
        _list(config)
        note_idle(ctx, IDLE)
    elif out is None:
        raise click.UsageError("Missing option '--out'.")
    else:
        _run(ctx, config, out, resume, jobs)


def _list(config: "ExperimentsConfig") -> None:
    from tinygrad_gpt.recipes.experiments.experiments import plan

    lines, failures = [("row", "trained", "memory", "tokens a text", "model", "name")], []
    for planned in plan(config):
        figures = ("–", "–", "–") if planned.failure else (
            f"{planned.trained:,}", f"{planned.memory / 1e6:,.0f} MB", f"{planned.context:,}")
        lines.append((str(planned.row.number), *figures, Path(planned.model).name, planned.row.name))
        if planned.failure:
            failures.append(f"Row {planned.row.number} cannot be run: {planned.failure}")
    echo("\n".join([*columns(lines), *failures]))


def _run(ctx: click.Context, config: "ExperimentsConfig", out: Path, resume: bool, jobs: int) -> None:
    """Run them, write the report, print its table, and end as the first run that could not be done."""
    from tinygrad_gpt.recipes.experiments.experiments import experiments
    from tinygrad_gpt.recipes.experiments.report import REPORT_FILES, result_table, write_report

    results = experiments(config, out, resume=resume, jobs=jobs, shown=_shown)
    note_idle(ctx, IDLE)
    table = result_table(results, config.base)
    echo("\n".join([*columns([table.header, *table.rows]), ""]))
    write_report(out, config, results)
    echo(f"Written to {out}: {', '.join(REPORT_FILES)}, and a folder for each run")
    for result in results:
        for failure in result.failures:
            raise failure


@contextlib.contextmanager
def _shown(title: str) -> Iterator[Callable[["Progress"], None]]:
    note(title)
    with progress_shown() as report:
        yield report
