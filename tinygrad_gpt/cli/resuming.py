"""What commands share whose run can be stopped and resumed."""

import contextlib
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinygrad_gpt.cli.failures import Terminated, stops_wait
from tinygrad_gpt.cli.options import Settings
from tinygrad_gpt.cli.progress import progress_shown

if TYPE_CHECKING:
    from tinygrad_gpt.runs.progress import Progress

__all__ = ["given_settings", "require", "resumable", "stopped_with"]


@contextlib.contextmanager
def resumable(ctx: click.Context, out: Path) -> Iterator[tuple[Callable[["Progress"], None], Callable[[], None]]]:
    """Show progress, and stop only where the run has saved its state.

    Yields:
        A function to call after each step, and one that stops here if the user has asked for it.
    """
    with stops_wait(f"the run can be resumed; go on with: {_resume_command(ctx, out)}") as stop_here, \
            progress_shown() as show:

        def report(progress: "Progress") -> None:
            show(progress)
            stop_here(last=progress.step == progress.total)  # what follows can be broken off: all steps are saved

        yield report, stop_here


@contextlib.contextmanager
def stopped_with(message: Callable[[], str]) -> Iterator[None]:
    """Say more than that a command was stopped, where it is."""
    try:
        yield
    except (KeyboardInterrupt, Terminated) as stop:
        stop.args = (message(),)
        raise


def _resume_command(ctx: click.Context, out: Path) -> str:
    """What to type to go on, with the settings that are not the run's own."""
    common: Settings = ctx.obj
    words = [*shlex.split(ctx.command_path), "--resume", "--out", str(out)]
    words += ["--backend", common.backend] if common.backend != "numpy" else []
    words += ["--threads", str(common.threads)] if common.threads else []
    words += ["--ops", common.ops] if common.ops else []
    words += ["--attention", common.attention] if common.attention != "own" else []
    return shlex.join(words)


def given_settings(ctx: click.Context, settings: dict[str, Any]) -> dict[str, Any]:
    """Those that the user has typed."""
    return {name: value for name, value in settings.items()
            if ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT}


def require(ctx: click.Context, **values: Any) -> None:
    """Refuse a command of which one of these options is missing."""
    for name, value in values.items():
        if value in (None, ()):
            raise click.MissingParameter(ctx=ctx, param=next(p for p in ctx.command.params if p.name == name))
