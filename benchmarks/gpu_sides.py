"""The processes of gpu.py: each is asked for a piece of work with a line of JSON and answers with one.

A process keeps what it has built, and with it the kernels that it has compiled, from one piece of work to the next.
"""

import contextlib
import gc
import json
import os
import queue
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from common import REPOSITORY

__all__ = ["Side", "serve"]


def serve(works: Mapping[str, Callable[..., dict[str, Any]]], give_back: Callable[[], None]) -> None:
    """Be such a process: for each line on stdin do the work that it names, and print what that found.

    Args:
        works: name -> function; an exception becomes the answer {"error": its traceback}.
        give_back: called behind each piece of work, so that the memory it took is there for the other processes.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    for line in sys.stdin:
        print(json.dumps(answer(works, give_back, **json.loads(line))), file=answers, flush=True)


def answer(works: Mapping[str, Callable[..., dict[str, Any]]], give_back: Callable[[], None], work: str,
           **settings: Any) -> dict[str, Any]:
    """Do one piece of work, and give back its memory."""
    try:
        return works[work](**settings)
    except Exception:
        return {"error": traceback.format_exc()}
    finally:
        gc.collect()  # a traceback keeps arrays alive
        give_back()


class Side:
    """A process that is started when it is first asked, and again if it has died, but not a third time.

    Args:
        script: of this folder.
        arguments: of the script.
    """

    def __init__(self, script: str, *arguments: str):
        self.command = [sys.executable, str(REPOSITORY / "benchmarks" / script), *arguments]
        self.process: subprocess.Popen | None = None
        self.answers: queue.Queue[str] = queue.Queue()
        self.waiting = 0  # answers that nobody has asked for yet
        self.starts = 0

    def send(self, **request: Any) -> None:
        """Let it begin a piece of work."""
        if self.process is None or self.process.poll() is not None:
            self.end()
            if self.starts == 2:
                raise ValueError("it ended twice")
            self.answers, self.waiting, self.starts = queue.Queue(), 0, self.starts + 1
            self.process = subprocess.Popen(self.command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            threading.Thread(target=_read, args=(self.process.stdout, self.answers), daemon=True).start()
        print(json.dumps(request), file=self.process.stdin, flush=True)
        self.waiting += 1

    def ask(self, seconds: float, **request: Any) -> dict[str, Any]:
        """Do a piece of work and wait at most this many seconds for the answer; {"error": …} if there is none."""
        try:
            self.send(**request)
            while self.waiting > 1:
                self._next(seconds)
            return json.loads(self._next(seconds))
        except (queue.Empty, ValueError, OSError) as error:
            self.end()
            why = f"no answer in {seconds:.0f} s" if isinstance(error, queue.Empty) else "the process ended"
            return {"error": f"{request.get('work')}: {why}"}

    def _next(self, seconds: float) -> str:
        line = self.answers.get(timeout=seconds)
        self.waiting -= 1
        return line

    def end(self) -> None:
        """Stop the process."""
        if self.process is not None:
            self.process.kill()
            with contextlib.suppress(OSError):  # what was being written to it
                self.process.stdin.close()
            self.process.wait()
            self.process = None


def _read(stream, lines: queue.Queue) -> None:
    with stream:
        for line in stream:
            lines.put(line)
    lines.put("")  # the end, which is no JSON
