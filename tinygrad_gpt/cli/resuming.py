"""What commands share whose run can be stopped and resumed."""

import contextlib
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinygrad_gpt import __version__
from tinygrad_gpt.cli.failures import Terminated, stops_wait
from tinygrad_gpt.cli.options import Settings
from tinygrad_gpt.cli.progress import progress_shown
from tinygrad_gpt.cli.ranks import command_name
from tinygrad_gpt.cli.show import note
from tinygrad_gpt.errors import DataError, ParallelError, UsageError

if TYPE_CHECKING:
    from tinygrad_gpt.parallel.group import Group
    from tinygrad_gpt.runs.progress import Progress

__all__ = ["given_settings", "group_joined", "require", "resumable", "stopped_with"]

DATA = ("data", "validation", "test", "extra", "unlabelled", "teachers")  # parameters that name files to learn from


@contextlib.contextmanager
def resumable(ctx: click.Context, out: Path) -> Iterator[tuple[Callable[["Progress"], None], Callable[[], None]]]:
    """Show progress, and stop only where the run has saved its state.

    Yields:
        A function to call after each step, and one that stops here if the user has asked for it.
    """
    message = f"the run can be resumed; go on with: {_resume_command(ctx, out)}"
    with group_joined(ctx) as group, stops_wait(message, group.largest) as stop_here, progress_shown() as show:

        def report(progress: "Progress") -> None:
            show(progress)
            stop_here(last=progress.step == progress.total)  # what follows can be broken off: all steps are saved

        yield report, stop_here


@contextlib.contextmanager
def group_joined(ctx: click.Context) -> Iterator["Group"]:
    """Compute with the other processes of the command, if there are any and they were started alike.

    Raises:
        UsageError: "ranks differ (settings): seed is 2 on rank 1 and 1 on rank 0; …".
        DataError: the same for a file of data.
        ParallelError: the same for the version of a package; or the processes cannot be joined.
    """
    from tinygrad_gpt.parallel.group import current_group, in_group

    common: Settings = ctx.obj
    size = _processes()
    if size == 1:
        if common.shard_optimizer:
            note("--shard-optimizer: no effect in one process")
        yield current_group()
        return
    from tinygrad_gpt.parallel.mpi import connect

    with in_group(connect(size, common.shard_optimizer)) as group:
        _check_alike(ctx, group)
        if not ctx.params["resume"]:
            group.check_rows(ctx.params["batch_size"])
        yield group


def _processes() -> int:
    from tinygrad_gpt.parallel.launch import launched

    return launched().size


def _check_alike(ctx: click.Context, group: "Group") -> None:
    import numpy as np

    from tinygrad_gpt.backend import default_backend
    from tinygrad_gpt.files import sha256_of

    group.check_same({"tinygrad-gpt": __version__, "NumPy": np.__version__, "the backend": default_backend().name},
                     ParallelError, "versions")
    group.check_same({"the command": command_name(ctx), **{name: str(value) for name, value in ctx.params.items()},
                      **{name: str(value) for name, value in vars(ctx.obj).items()}}, UsageError, "settings")
    files = [Path(file) for name in DATA for value in [ctx.params.get(name)] if value
             for file in (value if isinstance(value, tuple) else (value,))]
    group.check_same({str(file): sha256_of(file) for file in files if file.is_file()}, DataError, "data")


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
    if (size := _processes()) > 1:
        words = ["mpiexec", "-n", str(size), *words]
    words += ["--backend", common.backend] if common.backend != "numpy" else []
    words += ["--threads", str(common.threads)] if common.threads else []
    words += ["--ops", common.ops] if common.ops else []
    words += ["--attention", common.attention] if common.attention != "own" else []
    words += ["--shard-optimizer"] if common.shard_optimizer else []
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
