"""A student's function behind a process boundary, as a rule that the sweep and the diagnosis can call."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tinygrad_gpt.course import child
from tinygrad_gpt.study.cases import Rule, RuleError

__all__ = ["SECONDS", "Sandbox", "Stopped"]

SECONDS = 6  # of one exercise, by the clock
PACKAGE = Path(__file__).resolve().parents[1]


class Stopped(RuleError):
    """The student's code was stopped; the text says why."""


class Sandbox:
    """A child process that runs one file; a context manager, which ends it.

    Args:
        path: the student's file.
        name: of the function in it.
        hidden: None for a function of arrays; for one of Tensors the names of ops that it does not get.

    Attributes:
        stopped: why the code was stopped, "" if it was not.
        printed: what it printed, its first 2,000 characters.
    """

    def __init__(self, path: Path, name: str, hidden: Sequence[str] | None = None):
        self.stopped, self.printed, self.count, self.too_late = "", "", 0, False
        path = path.resolve()
        kept = {key: os.environ[key] for key in ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH") if key in os.environ}
        environment = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", **kept}
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-B", child.__file__, str(PACKAGE), str(path.parent), str(path), name,
             *([] if hidden is None else [",".join(hidden)])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=path.parent, env=environment)
        self.clock = threading.Timer(SECONDS, self._end)
        self.clock.start()

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_) -> None:
        self.clock.cancel()
        self.process.kill()
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                with contextlib.suppress(OSError):  # the child ended while a request was in the pipe
                    stream.close()
        self.process.wait()

    def _end(self) -> None:
        self.too_late = True
        self.process.kill()

    def loaded(self) -> None:
        """Wait until the file has run.

        Raises:
            Stopped, RuleError: it was stopped, or raised an error.
        """
        self._reply()

    def _ask(self, header: dict, arrays: Sequence) -> tuple[dict, list]:
        if self.stopped:
            raise Stopped(self.stopped)
        there = [a for a in arrays if a is not None]
        places = iter(range(len(there)))
        given = [None if a is None else next(places) for a in arrays]
        with contextlib.suppress(OSError):  # it has ended; the reply says why
            child.send(self.process.stdin, {**header, "given": given}, there)
        return self._reply()

    def _reply(self) -> tuple[dict, list]:
        try:
            header, arrays = child.receive(self.process.stdout)
        except (EOFError, ValueError, KeyError, TypeError):
            header, arrays = {"stopped": self._why_it_ended()}, []
        self.printed = (self.printed + str(header.get("printed", "")))[:2000]
        if "stopped" in header:
            self.stopped = str(header["stopped"])
            raise Stopped(self.stopped)
        if "error" in header:
            raise RuleError(str(header["error"]))
        return header, arrays

    def _why_it_ended(self) -> str:
        if self.too_late:
            return f"takes more than {SECONDS} seconds: is there a loop without an end?"
        self.process.kill()
        code = self.process.wait()
        if code in (-24, 152):  # SIGXCPU
            return f"takes more than {child.SECONDS} seconds of processor time: is there a loop without an end?"
        return f"ends the process that runs it (exit code {code})"

    def layer(self) -> Callable:
        """The student's layer as a function of arrays, which returns its result and a function of its gradient."""
        def rule(xp, *arrays):
            self.count += 1
            _, (y,) = self._ask({"do": "forward", "settings": {}, "call": self.count}, arrays)
            call = {"call": self.count, "index": None}
            return y, lambda g: self._pulled(call, g, len(arrays))

        return rule

    def rule(self, forward: Rule) -> Rule:
        """The student's function, with the results of the given forward pass.

        Args:
            forward: computes y; where the student's differs the rule raises.
        """
        def rule(xp, *arrays, needs_input_grad=None, **settings):
            y = np.asarray(forward(xp, *arrays, **settings)[0])
            if needs_input_grad is not None and not any(needs_input_grad):
                return y, [None] * len(arrays)
            self.count += 1
            call = {"call": self.count}
            header, (theirs,) = self._ask({"do": "forward", "settings": settings, **call}, arrays)
            if theirs.shape != y.shape or not np.allclose(theirs, y, rtol=1e-5, atol=1e-6, equal_nan=True):
                raise RuleError("the result is another one: leave the forward pass as it was given")
            there = header["pullbacks"]
            if there is None:
                return y, lambda g: self._pulled({**call, "index": None}, g, len(arrays))
            return y, tuple((lambda g, i=i: self._pulled({**call, "index": i}, g, 1)[0]) if is_there else None
                            for i, is_there in enumerate([*there, *[False] * len(arrays)][:len(arrays)]))

        return rule

    def _pulled(self, call: dict, g, count: int) -> tuple:
        """What the pullbacks of a call return, `count` gradients or None."""
        header, parts = self._ask({"do": "pull", **call}, [g])
        flags, there = header["parts"], iter(parts)
        return tuple(next(there) if is_there else None for is_there in [*flags, *[False] * count][:count])
