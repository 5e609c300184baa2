"""One thread that computes everything.

It works in turns. A turn classifies all texts that wait, in one batch, and then takes one step of each longer
computation: a token of a text that is generated, the explanation of one answer. So a short request never waits for a
long one, and many that come together cost little more than one.
"""

import contextlib
import contextvars
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from tinygrad_gpt.errors import ResourceError
from tinygrad_gpt.recipes.classification.classify import Prediction, classify
from tinygrad_gpt.runs.saved_model import SavedModel

__all__ = ["BusyError", "ClosedError", "Job", "Worker"]

BATCH = 64  # texts that are classified in one turn


class BusyError(ResourceError):
    """More waits than the server keeps waiting."""


class ClosedError(ResourceError):
    """The server is shutting down."""


@dataclass(frozen=True)
class _Text:
    """A text that waits for its label."""

    saved: SavedModel
    text: str
    answer: "Future[Prediction]"


@dataclass(eq=False)
class Job:
    """A computation in steps.

    Args:
        make: called on the worker's thread; gives the steps.
        deliver: called on the worker's thread with ("step", what a step gave), then ("end", None) or
            ("error", an exception); never again once the job is cancelled.
    """

    make: Callable[[], Iterator[Any]]
    deliver: Callable[[str, Any], object]
    steps: Iterator[Any] | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """End it before its next step; from any thread."""
        self.cancelled.set()


class Worker:
    """The thread, and what waits for it.

    Args:
        texts: that may wait for their labels.
        jobs: that may wait for their first step.
        together: jobs that take turns; the others wait.
    """

    def __init__(self, texts: int = 1024, jobs: int = 64, together: int = 8):
        self.most_texts, self.most_jobs, self.together = texts, jobs, together
        self._texts: deque[_Text] = deque()
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._changed = threading.Condition()
        self._closed = False
        context = contextvars.copy_context()  # backend and form of the ops of the thread that starts the server
        self._thread = threading.Thread(target=context.run, args=(self._work,), name="compute", daemon=True)
        self._thread.start()

    @property
    def load(self) -> dict[str, int]:
        """How many texts wait, and how many jobs wait or take turns."""
        with self._changed:
            return {"texts_waiting": len(self._texts), "jobs_waiting": len(self._waiting),
                    "jobs_running": len(self._running)}

    def classify(self, saved: SavedModel, texts: Sequence[str]) -> "list[Future[Prediction]]":
        """Label texts, each with its own answer; one that is cancelled in time is not computed.

        Raises:
            BusyError: "too many texts (server): 1,000 wait …".
            ClosedError: "the server is shutting down (server): …".
        """
        items = [_Text(saved, text, Future()) for text in texts]
        with self._changed:
            self._check(len(self._texts) + len(items) > self.most_texts, len(self._texts), "texts")
            self._texts.extend(items)
            self._changed.notify()
        return [item.answer for item in items]

    def start(self, make: Callable[[], Iterator[Any]], deliver: Callable[[str, Any], object]) -> Job:
        """Take a job; raises as `classify`."""
        job = Job(make, deliver)
        with self._changed:
            self._waiting = deque(other for other in self._waiting if not other.cancelled.is_set())
            self._check(len(self._waiting) >= self.most_jobs, len(self._waiting), "requests")
            self._waiting.append(job)
            self._changed.notify()
        return job

    def close(self) -> None:
        """Take nothing more, and end what waits or runs with a `ClosedError`."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def join(self, seconds: float) -> bool:
        """Wait for the end of the thread behind `close`; returns whether it came."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _check(self, full: bool, waiting: int, what: str) -> None:
        if self._closed:
            raise ClosedError("cannot compute (server): it is shutting down; send the request again later")
        if full:
            raise BusyError(f"too many {what} (server): {waiting:,} {what} wait already; send fewer at once, or the "
                            "same again in a second")

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (self._closed or self._texts or self._waiting or self._running):
                    self._changed.wait()
                if self._closed:
                    break
                batch = self._next_batch()
                while self._waiting and len(self._running) < self.together:
                    self._running.append(self._waiting.popleft())
                running = list(self._running)
            if batch:
                self._answer(batch)
            ended = {job for job in running if not self._step(job)}
            with self._changed:
                self._running = [job for job in self._running if job not in ended]
        self._end_all()

    def _next_batch(self) -> list[_Text]:
        """Waiting texts of one model, the oldest first; those of other models stay."""
        batch: list[_Text] = []
        others: list[_Text] = []
        while self._texts and len(batch) < BATCH:
            item = self._texts.popleft()
            if batch and item.saved is not batch[0].saved:
                others.append(item)
            elif item.answer.set_running_or_notify_cancel():
                batch.append(item)
        self._texts.extendleft(reversed(others))
        return batch

    def _answer(self, batch: list[_Text]) -> None:
        try:
            for item, answer in zip(batch, classify(batch[0].saved, [item.text for item in batch]), strict=True):
                item.answer.set_result(answer)
        except Exception as error:
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
                return
            for item in batch:  # one by one, so that no text has to do with the failure of another
                self._answer([item])

    def _step(self, job: Job) -> bool:
        """Take one step of a job; returns whether there may be another."""
        if job.cancelled.is_set():
            if job.steps is not None and hasattr(job.steps, "close"):
                job.steps.close()
            return False
        try:
            job.steps = iter(job.make()) if job.steps is None else job.steps
            event, value = "step", next(job.steps)
        except StopIteration:
            event, value = "end", None
        except Exception as error:
            event, value = "error", error
        if not job.cancelled.is_set():
            self._deliver(job, event, value)
        return event == "step"

    def _deliver(self, job: Job, event: str, value: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop that waited for it is gone
            job.deliver(event, value)

    def _end_all(self) -> None:
        with self._changed:
            jobs, texts = [*self._running, *self._waiting], list(self._texts)
            self._running, self._waiting, self._texts = [], deque(), deque()
        ended = ClosedError("request broken off (server): it is shutting down; send the request again later")
        for item in texts:
            if item.answer.set_running_or_notify_cancel():
                item.answer.set_exception(ended)
        for job in jobs:
            if not job.cancelled.is_set():
                self._deliver(job, "error", ended)
