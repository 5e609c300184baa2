"""Signals while the command line is imported, and while the interpreter ends."""

import atexit
import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

__all__ = ["STOPS", "ignore_stops_at_exit", "stops_at_once", "stops_heeded"]

# Signal -> exit code, and the beginning of the line that says so.
STOPS = {getattr(signal, name): (code, f"{what} ({name})") for name, code, what in (
    ("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "terminated"), ("SIGHUP", 129, "hung up"),
) if hasattr(signal, name)}  # Windows has no SIGHUP


def stops_heeded() -> list[int]:
    """The stop signals that the caller of the program, such as `nohup`, does not want to be ignored."""
    return [number for number in STOPS if signal.getsignal(number) is not signal.SIG_IGN]


@contextlib.contextmanager
def stops_at_once() -> Iterator[None]:
    """End the process with its line on a stop signal: in this block nothing is open that would have to be closed."""

    def stop(number: int, frame: FrameType | None) -> None:
        os.write(2, f"error: {STOPS[number][1]}: stopped on request; start the command again when you like\n".encode())
        os._exit(STOPS[number][0])

    try:
        previous = {number: signal.signal(number, stop) for number in stops_heeded()}
    except ValueError:  # only the main thread may set handlers
        previous = {}
    try:
        yield
    finally:
        for number, action in previous.items():
            signal.signal(number, action)


def ignore_stops_at_exit() -> None:
    """Let no signal disturb the end of the interpreter, when all is done."""
    atexit.unregister(_ignore_stops)
    atexit.register(_ignore_stops)


def _ignore_stops() -> None:
    for number in STOPS:
        with contextlib.suppress(ValueError):
            signal.signal(number, signal.SIG_IGN)
