"""How the program ends: every exception becomes an exit code and one line on stderr."""

import contextlib
import errno
import functools
import io
import os
import re
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import click

from tinygrad_gpt.cli.options import one_line
from tinygrad_gpt.cli.starting import stops_heeded
from tinygrad_gpt.errors import TinygradError

__all__ = ["HungUp", "Stops", "Terminated", "accept_any_character", "exit_code", "report", "stops_raise", "stops_wait",
           "warnings_wait"]

BUG = 70
LONGEST_LINE = 240
NO_ROOM = re.compile("failed to map segment|cannot allocate memory|cannot create shared object", re.IGNORECASE)
STOPPED = "stopped on request; start the command again when you like"
ONE_STOP = 1.0  # seconds in which further signals mean the stop that is under way


class Terminated(BaseException):
    """SIGTERM arrived. Like KeyboardInterrupt it passes every `except Exception`."""


class HungUp(Terminated):
    """SIGHUP arrived: the terminal is gone."""


STOPS = KeyboardInterrupt, Terminated
EXCEPTIONS = {"SIGINT": KeyboardInterrupt, "SIGTERM": Terminated, "SIGHUP": HungUp}


class Stops:
    """What stop signals have done to a command so far.

    Attributes:
        over: whether the command has ended, so that signals do nothing more.
        raised: the newest exception of a signal, and when it was raised.
        dropped: one that Python has dropped.
    """

    def __init__(self) -> None:
        self.over = False
        self.raised: tuple[BaseException, float] | None = None
        self.dropped: BaseException | None = None

    def stop(self, number: int, message: str = "") -> None:
        """Raise the exception of a signal, unless one that was just raised is on its way."""
        now = time.monotonic()
        if self.over or (self.raised and now - self.raised[1] < ONE_STOP):
            return
        self.raised = EXCEPTIONS[signal.Signals(number).name](message), now
        raise self.raised[0]

    def note_dropped(self, dropped: Any, shown: Callable[[Any], Any]) -> None:
        """Keep the exception of a signal that Python drops, as in a destructor; others go to the hook ``shown``."""
        if isinstance(dropped.exc_value, STOPS):
            self.dropped = dropped.exc_value
        else:
            shown(dropped)

    def raise_dropped(self) -> None:
        """Raise the exception that was kept, if there is one."""
        if self.dropped and not self.over:
            raise self.dropped

    def cause(self, error: BaseException) -> BaseException:
        """The signal that led to an error, or the error: what a signal breaks off may fail in other ways."""
        return self.raised[0] if self.raised else error


_stops = Stops()  # of the command that runs, if one does


@contextlib.contextmanager
def stops_raise() -> Iterator[Stops]:
    """Let stop signals raise exceptions, so that files are closed and locks are released."""
    global _stops
    outer, _stops = _stops, Stops()
    stops, shown = _stops, sys.unraisablehook
    sys.unraisablehook = functools.partial(stops.note_dropped, shown=shown)
    try:
        with _handled(lambda number, frame: stops.stop(number)):
            yield stops
    finally:
        _stops, sys.unraisablehook = outer, shown


@contextlib.contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Set the handler of the stop signals that are not ignored; in the main thread, which alone may do so."""
    previous: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        previous = {number: signal.signal(number, handler) for number in stops_heeded()}
    try:
        yield
    finally:
        for number, action in previous.items():
            signal.signal(number, action)


@contextlib.contextmanager
def stops_wait(message: str, agree: Callable[[int], int] = int) -> Iterator[Callable[..., None]]:
    """Give a function to call where it is good to stop: from its first call on, stop signals wait for the next.

    Behind the call with ``last=True`` they no longer wait. A second signal acts at once. Further ones within a second
    do nothing: they would break off what saves the run.

    Args:
        message: what to tell the user who stopped the program there.
        agree: of processes that stop together, the number of a signal that one of them has received, from that which
            this one has, or 0; called at each place to stop.
    """
    received: list[int] = []
    over = False
    stops = _stops
    stops.raised = None

    def handler(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1 or over:
            stops.stop(received[0], message)

    with contextlib.ExitStack() as stack:
        waiting: list[Any] = []

        def stop_here(last: bool = False) -> None:
            nonlocal over
            over = over or last
            stops.raise_dropped()
            if number := agree(received[0] if received else 0):
                stops.stop(number, message)
            elif not waiting:
                waiting.append(stack.enter_context(_handled(handler)))

        yield stop_here


def accept_any_character() -> None:
    """Let stdout and stderr escape what their encoding cannot show, instead of raising UnicodeEncodeError."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def warnings_wait() -> Iterator[None]:
    """Print warnings at the end, a line each, and not at all when the command fails: its failure is the one line."""
    with warnings.catch_warnings(record=True) as caught:
        yield
    for text in dict.fromkeys(f"{one_line(str(w.message))} ({Path(w.filename).name}:{w.lineno})" for w in caught):
        print(f"warning: {text}", file=sys.stderr)


def exit_code(error: BaseException) -> int:
    """The exit code of an exception."""
    return 0 if isinstance(error, BrokenPipeError) else describe(error)[0]  # `| head -1`: the reader has what it wants


def report(error: BaseException, *, debug: bool) -> None:
    """Print the one line for `error` on stderr; with `debug`, its traceback first."""
    _release(sys.stdout)
    if isinstance(error, BrokenPipeError):
        return
    code, line = describe(error)
    if code == BUG:
        line += f"; {_write_log(error)}"
    trace = "".join(traceback.format_exception(error)) if debug else ""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):  # stderr may be a broken pipe too: the exit code still tells
            print(f"{trace}{fitted(f'error: {one_line(line)}')}", file=sys.stderr, flush=True)
        _release(sys.stderr)


def fitted(line: str, room: int = LONGEST_LINE) -> str:
    """A line that is no longer than `room`: long words are cut in their middle, then the end before the remedy.

    The remedy, what is behind the last "; ", stays whole where that is possible.

    Example:
        >>> fitted("error: no such file (aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa): missing; check it", 60)
        'error: no such file (aaaaaaaaaa…aaaaaaaa): missing; check it'
    """
    if len(line) <= room:
        return line
    head, separator, remedy = line.rpartition("; ")
    if not separator or len(remedy) > room - 60:
        return _cut(line, room)
    return _cut(head, room - len(remedy) - 2) + separator + remedy


def _cut(text: str, room: int) -> str:
    """Cut words of more than 80, 40 or 20 characters in their middle, until the text fits; then its end."""
    for longest in (80, 40, 20):
        if len(text) <= room:
            return text
        text = re.sub(rf"\S{{{longest + 1},}}", lambda word, half=longest // 2: (  # type: ignore[misc]
            f"{word[0][:half]}…{word[0][1 - half:]}"), text)
    return text if len(text) <= room else f"{text[:room - 1]}…"


def describe(error: BaseException) -> tuple[int, str]:
    """The exit code of an exception, and its line in the form `WHAT (WHERE): WHY; TRY`."""
    match error:
        case TinygradError():
            return error.exit_code, str(error)
        case click.UsageError():
            return 2, _usage_line(error)
        case click.ClickException():
            return 1, error.format_message()
        case KeyboardInterrupt() | click.Abort():
            return 130, f"interrupted (SIGINT): {str(error) or STOPPED}"
        case HungUp():
            return 129, f"hung up (SIGHUP): {str(error) or STOPPED}"
        case Terminated():
            return 143, f"terminated (SIGTERM): {str(error) or STOPPED}"
        case Exception() if said := _out_of_memory(error):
            return 4, (f"out of memory (main memory or GPU): {said}; make the batch, the texts or the model smaller, "
                       "or train with --recompute or --precision float16 where the command has them")
        case UnicodeEncodeError(reason="surrogates not allowed"):
            return 1, f"text is not Unicode (character {error.start + 1}): {error.reason}; pass it as UTF-8"
        case OSError(errno=int()):
            return _describe_os_error(error)
        case _:
            return BUG, f"this is a bug in tinygrad-gpt ({_place(error)}): {type(error).__name__}: {error}"


def _out_of_memory(error: Exception) -> str | None:
    """What an error says about memory that ran out, if it is about that."""
    if isinstance(error, ImportError):  # a library that did not fit in what the process may take
        said = "".join(traceback.format_exception(error))
        return "a library could not be loaded" if NO_ROOM.search(said) else None
    if not isinstance(error, MemoryError) and "tinygrad_gpt.backend" not in sys.modules:
        return None  # there were no arrays yet: nothing is imported for an error that is about something else
    try:
        from tinygrad_gpt.backend import out_of_memory
    except (ImportError, MemoryError):  # not even NumPy fits
        return "a library could not be loaded"
    return out_of_memory(error)


def _usage_line(error: click.UsageError) -> str:
    where = error.ctx.command_path if error.ctx else "tinygrad-gpt"
    what, why = "wrong usage", error.format_message().rstrip(".")
    if type(error) is click.BadParameter and error.param is not None and error.ctx is not None:
        what, why = f"bad value for {error.param.get_error_hint(error.ctx)}", error.message.rstrip(".")
    return f"{what} ({where}): {why}; see '{where} --help'"


def _describe_os_error(error: OSError) -> tuple[int, str]:
    where = "output" if error.filename is None else os.fsdecode(error.filename)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return 4, f"disk is full ({where}): {error.strerror}; free some space and run the command again"
    what, remedy = {
        errno.ENOENT: ("file not found", "check the path"),
        errno.EISDIR: ("not a file", "name a file, not a folder"),
        errno.EACCES: ("no permission", "check who may read and write it"),
    }.get(error.errno or 0, ("file cannot be used", "check the path and its folder"))
    return 1, f"{what} ({where}): {error.strerror}; {remedy}"


def _place(error: BaseException) -> str:
    """Where in this package the exception came up: file and line of its innermost frame."""
    package = Path(__file__).parents[1]
    frames = [f for f in traceback.extract_tb(error.__traceback__) if package in Path(f.filename).parents]
    return f"{Path(frames[-1].filename).relative_to(package)}:{frames[-1].lineno}" if frames else "unknown place"


def _write_log(error: BaseException) -> str:
    """Keep the traceback in the folder for temporary files; return what to tell the user about it."""
    import tempfile

    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="tinygrad-gpt-", suffix=".log", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as log:
            log.write(f"{sys.argv!r}\n{''.join(traceback.format_exception(error))}")
    except OSError:
        return "no log file could be written, run it again with --debug"
    return f"please report it with the log file {log.name}"


def _release(stream: TextIO | None) -> None:
    """Send what a broken stream still holds to nowhere: the interpreter would fail on it on its way out."""
    if stream is None:
        return
    try:
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
