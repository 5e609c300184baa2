"""A command in several processes, which `mpiexec` started: which commands can, and which of the processes speaks."""

import contextlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
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
PATIENCE = 10.0  # seconds that the others have, when one has failed, to come to an exchange or to their end


class Ranks:
    """The processes of a command: one of them prints, and all end together.

    In a process that was started alone it does nothing.
    """

    def __init__(self) -> None:
        from tinygrad_gpt.parallel.launch import launched

        self.launch = launched()
        self._silence = contextlib.ExitStack()
        self._witness: Witness | None = None
        self._comm: Any = None

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
        self._dismiss()

    def _dismiss(self, failed: bool = False) -> None:
        if self._witness:
            self._witness.dismiss(failed)
        self._witness = None

    def meet(self) -> None:
        """Wait for the other processes.

        Raises:
            ParallelError: as `communicator`.
        """
        if self.launch.size > 1:
            from tinygrad_gpt.parallel.launch import communicator

            self._comm = communicator(self.launch.size)

    def end(self, code: int, error: BaseException | None = None,
            report: Callable[[BaseException], Any] = lambda error: None) -> int:
        """End with the other processes.

        Args:
            code: exit code of this process.
            error: why it fails; None: it does not.
            report: prints an error. Of several processes that fail, the lowest rank does; the others may have failed
                for the same reason, or because of it.

        Returns:
            The exit code, in a process that was started alone, or where none has failed; otherwise nothing: the process
            ends here, with the exit code of the one that prints.
        """
        if self._comm is None:  # one process, or several that did not find each other
            if error is not None:
                report(error)
            if self.launch.size > 1:
                self._leave(code)
            return code
        from tinygrad_gpt.parallel.ending import DONE, FAILED, FOLLOWS, OtherFailed, end_together

        how = DONE if error is None else FOLLOWS if isinstance(error, OtherFailed) else FAILED
        ending = end_together(self._comm, how, code, PATIENCE)
        if how == DONE and ending.speaker is None:
            return code
        if ending.speaker == self.launch.rank and error is not None:
            self._silence.close()
            report(error)
        else:
            self._dismiss()
            time.sleep(PATIENCE)  # in which the one that speaks ends all
        return self._leave(ending.code)

    def _leave(self, code: int) -> NoReturn:
        """End all processes.

        MPICH's launcher kills the others when a process ends with an exit code above 0, be it behind MPI_Finalize, and
        then has an exit code of its own. After MPI_Abort it kills them, too, and has the code that it is given.
        """
        self._dismiss(failed=True)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        if self._comm is not None:
            _wait_for_reader(2)
            _mute()  # MPI_Abort says so
            self._comm.Abort(code)
        os._exit(code)


def _wait_for_reader(descriptor: int) -> None:
    """Return when what was written into a pipe has been read: the launcher reads nothing more once it ends all."""
    with contextlib.suppress(ImportError, OSError):  # on Windows there is no such question
        import fcntl
        import termios

        until = time.monotonic() + PATIENCE
        while stat.S_ISFIFO(os.fstat(descriptor).st_mode) and time.monotonic() < until:
            if not int.from_bytes(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)), sys.byteorder):
                return
            time.sleep(0.001)


def _mute() -> None:
    """Let nothing that this process prints be heard any more, not even what a library writes."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


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
