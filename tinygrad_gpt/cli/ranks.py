"""A command in several processes, which `mpiexec` started: which commands can, and which of the processes speaks."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any, NoReturn

import click

from tinygrad_gpt.errors import UsageError

__all__ = ["PARALLEL", "THREAD_VARIABLES", "Ranks", "alone", "command_name", "rank_settings", "refuse_ranks"]

PARALLEL = frozenset({"pretrain", *(f"finetune {task}" for task in (
    "classifier", "instructions", "preferences", "reward"))})
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
# It reads a word of its rank, or the end of the rank without one. The file is there for a second, in which others end.
WITNESS = """
if ! read -r word; then
    (set -C; : > "$1") 2> /dev/null && echo "$2" >&2 && word=clear
fi
if [ "$word" = clear ]; then
    (sleep 1; rm -f "$1") < /dev/null > /dev/null 2>&1 &
fi
"""
PATIENCE = 2.0  # seconds in which the first rank can say what all have found, before another says it


class Ranks:
    """The processes of a command: only rank 0 prints, and the first that fails ends all.

    In a process that was started alone it does nothing.
    """

    def __init__(self) -> None:
        from tinygrad_gpt.parallel.launch import launched

        self.launch = launched()
        self._silence = contextlib.ExitStack()
        self._witness: Witness | None = None

    def __enter__(self) -> "Ranks":
        if 1 < self.launch.size == self.launch.local_size and shutil.which("sh"):
            self._witness = Witness(self.launch.rank)
        if self.launch.rank:
            nowhere = self._silence.enter_context(open(os.devnull, "w", encoding="utf-8"))
            self._silence.enter_context(contextlib.redirect_stdout(nowhere))
            self._silence.enter_context(contextlib.redirect_stderr(nowhere))
        return self

    def __exit__(self, *_: Any) -> None:
        self._silence.close()
        if self._witness:
            self._witness.dismiss()

    def meet(self) -> None:
        """Wait for the other processes: from here on, one that fails takes the others with it.

        Raises:
            ParallelError: as `communicator`; the other ranks end without a word.
        """
        if self.launch.size > 1:
            from tinygrad_gpt.errors import ParallelError
            from tinygrad_gpt.parallel.launch import communicator

            try:
                communicator(self.launch.size)
            except ParallelError:
                if self.launch.rank:
                    self._end(ParallelError.exit_code)
                raise

    def speak(self) -> None:
        """Let this process print, if no lower rank has ended all by then."""
        if self.launch.rank:
            time.sleep(PATIENCE)
            self._silence.close()

    def end(self, code: int) -> int:
        """The exit code; a process of several that has failed ends here, and its launcher ends the others."""
        if self.launch.size > 1 and code:
            self._end(code)
        return code

    def _end(self, code: int) -> NoReturn:
        if self._witness:
            self._witness.dismiss(failed=True)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(code)  # not through MPI, which would wait for the others


class Witness:
    """A small process that says so if the system kills this one, which cannot: the first of those of a machine does.

    The launcher then kills the other ranks, whose witnesses find that it is said.

    Args:
        rank: of this process.
    """

    def __init__(self, rank: int):
        self._said = os.path.join(tempfile.gettempdir(), f"tinygrad-gpt-{os.getppid()}.ended")  # one for a launcher
        line = (f"error: a process was killed (rank {rank}): by the system, for want of memory perhaps, or by a user; "
                "go on with --resume")
        self._process = subprocess.Popen(["sh", "-c", WITNESS, "witness", self._said, line], stdin=subprocess.PIPE,
                                         stdout=subprocess.DEVNULL, start_new_session=True)

    def dismiss(self, failed: bool = False) -> None:
        """Let it go; ``failed``: this rank ends, and has said why."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it has gone already, or another rank has said why
            if failed:
                os.close(os.open(self._said, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
                self._process.stdin.write(b"clear\n")
            else:
                self._process.stdin.write(b"done\n")
            self._process.stdin.flush()
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait()  # while it holds stderr, the launcher takes this process for one that goes on


def command_name(ctx: click.Context) -> str:
    """The name of a command without the program, such as "finetune classifier"."""
    names: list[str] = []
    while ctx.parent is not None:
        names, ctx = [ctx.info_name or "", *names], ctx.parent
    return " ".join(names)


def refuse_ranks(ctx: click.Context) -> None:
    """Refuse several processes for a command that would do the same in each of them.

    Raises:
        UsageError: "classify in 2 processes (mpiexec): each would do the same; …".
    """
    if command_name(ctx) not in PARALLEL:
        alone(command_name(ctx))


def alone(what: str) -> None:
    """Refuse several processes for something, a command or an option of this name.

    Raises:
        UsageError: "--budget in 2 processes (mpiexec): each would do the same; …".
    """
    from tinygrad_gpt.parallel.launch import launched

    if (size := launched().size) > 1:
        raise UsageError(f"{what} in {size} processes (mpiexec): each would do the same; start it without mpiexec, "
                         "which is for pretrain and finetune")


def rank_settings(threads: int | None, backend: str) -> dict[str, str]:
    """Environment variables of one of several processes: its share of the cores, and its GPU.

    Args:
        threads: what the user asked for; None: the share, unless the environment says more.
        backend: of the command.

    Raises:
        UsageError: there is no GPU for this process.
    """
    from tinygrad_gpt.parallel.launch import launched

    launch, found = launched(), {}
    if launch.size == 1:
        return {}
    if threads is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        found = {name: str(launch.threads(cores)) for name in THREAD_VARIABLES if name not in os.environ}
    if backend != "numpy":
        found["CUDA_VISIBLE_DEVICES"] = launch.device(os.environ.get("CUDA_VISIBLE_DEVICES"))
    return found
