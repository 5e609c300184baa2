"""A training run: one loop, one folder, one log and one way to resume, whatever is trained.

What differs between pretraining, classification, instructions and preferences is a `Task`: data, loss, scores, samples.
Every step is a function of (seed, step) and of the state before it, so a run that was stopped, however, and is resumed
is bit for bit the uninterrupted one.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_gpt.errors import CheckpointError, DataError, ParallelError, TinygradError, listed
from tinygrad_gpt.models.gpt2 import seed_dropout
from tinygrad_gpt.optim import AdamW, ShardedAdamW
from tinygrad_gpt.parallel.gradients import gradients_of
from tinygrad_gpt.parallel.group import Group, current_group
from tinygrad_gpt.parallel.weights import check_weights
from tinygrad_gpt.runs.folder import Log, States, run_digest, write_run
from tinygrad_gpt.runs.progress import Progress
from tinygrad_gpt.train import Batch, LossScale, losses_of, train_step

__all__ = ["Run", "Task", "begin", "loss_scale_of", "part_of", "steps"]

CHECKED = 100  # steps after which the processes of a group compare their weights


class Task:
    """What a run trains, and for what. It is made from settings, data and a model before anything is trained.

    Attributes:
        config: its settings; the loop reads ``seed``, ``max_norm``, ``precision`` and ``save_every``, steps between
            states; 0: none, and a run that was stopped cannot be resumed.
        model: what is trained.
        total: optimiser steps of the whole run.
    """

    config: Any
    model: Any
    total: int

    def optimizer(self) -> AdamW:
        """The optimiser of the parameters that are trained."""
        raise NotImplementedError

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        raise NotImplementedError

    def set_rates(self, optimizer: AdamW, step: int) -> None:
        """Give every group of parameters its learning rate for a step; here all have the same."""
        optimizer.lr = self.rate(step)

    def batches(self, step: int) -> Sequence[Batch]:
        """What a step learns from; its gradient is the mean over all of them."""
        raise NotImplementedError

    def updated(self, done: int) -> None:
        """Called after the update of a step, before the model is judged."""

    def rows(self) -> int:
        """Rows of the largest batch, which processes can share."""
        return self.config.batch_size

    def tokens(self, done: int) -> int:
        """Tokens that were computed in the first ``done`` steps."""
        raise NotImplementedError

    def scores(self, done: int) -> dict[str, float]:
        """Figures of the model after ``done`` steps, by name; empty if none are due."""
        raise NotImplementedError

    def samples(self, done: int) -> list[str]:
        """Texts that the model writes after ``done`` steps; empty if none are due."""
        return []

    def finished(self, done: int) -> bool:
        """Whether the run ends after ``done`` steps."""
        return done >= self.total

    def logged(self, folder: Path, log: Sequence[Progress]) -> None:
        """Called after every step, when it is in the log."""

    def write(self, folder: Path, log: Sequence[Progress]) -> None:
        """Write the models that the folder holds, before the state that vouches for them."""

    def show(self, folder: Path, log: Sequence[Progress]) -> None:
        """Write pictures and samples, behind the state: what fails here loses nothing."""

    def state(self) -> dict[str, np.ndarray]:
        """What the next step depends on besides optimiser and loss scale, by name."""
        raise NotImplementedError

    def restore(self, tensors: dict[str, np.ndarray]) -> None:
        """Go back to a `state`, which is among these."""
        raise NotImplementedError


def part_of(tensors: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Those whose names begin with a prefix, under names without it."""
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}


def loss_scale_of(task: Task) -> LossScale | None:
    """The loss scale of a run in float16; None in other precisions."""
    return LossScale() if task.config.precision == "float16" else None


def steps(task: Task, optimizer: AdamW, loss_scale: LossScale | None,
          unjudged: Callable[[Progress], None] = lambda progress: None) -> Iterator[Progress]:
    """Do the steps that are left, and yield after each.

    Args:
        unjudged: called with a step whose scores or samples fail, before their error is raised.
    """
    started, group = time.monotonic(), current_group()
    gradients = gradients_of(group, optimizer.parameters)
    while not task.finished(optimizer.steps):
        step = optimizer.steps
        losses = losses_of(task.batches(step), group, task.model)
        seed_dropout(task.model.train(), task.config.seed, step)
        task.set_rates(optimizer, step)
        loss, norm = train_step(losses, optimizer, task.config.max_norm, f"step {step + 1}", task.model, loss_scale,
                                gradients)
        done = optimizer.steps
        if done % CHECKED == 0:
            check_weights(group, optimizer.parameters, done)
        task.updated(done)
        progress = Progress(done, task.total, loss, norm, optimizer.lr, task.tokens(done), time.monotonic() - started)
        try:
            scores = task.scores(done)
            progress = replace(progress, scores=scores, seconds=time.monotonic() - started)
            progress = replace(progress, samples=_samples(task, done, group))
        except Exception:  # not Ctrl-C, which waits for nothing
            unjudged(progress)
            raise
        yield progress


def _samples(task: Task, done: int, group: Group) -> list[str]:
    """What the model writes on rank 0; where that fails, no rank goes on."""
    texts: list[str] = []
    error: Exception | None = None
    try:
        texts = task.samples(done) if group.rank == 0 else []
    except Exception as failure:
        error = failure
    if group.largest(error is not None):
        raise error or ParallelError(f"no samples (step {done:,}): rank 0 could not make them; see its message")
    return texts


class Run:
    """A task, its optimiser, and the folder that it can be resumed from.

    Args:
        folder: where it is.
        notes: what its config.json holds, or will hold.
        task: what is trained.
    """

    def __init__(self, folder: Path, notes: dict[str, Any], task: Task):
        self.folder, self.task = folder, task
        self.group = current_group()
        self.group.check_same(notes, DataError, "run")
        if self.group.size > 1:
            self.group.check_rows(task.rows())
        self.optimizer, self.loss_scale = task.optimizer(), loss_scale_of(task)
        if self.group.shards:
            self.optimizer = ShardedAdamW(self.optimizer, self.group)
        self._states = States(folder, run_digest(notes))

    def save_state(self) -> None:
        """Write all that the next step depends on, if the run is to be resumable."""
        if not self.task.config.save_every:
            return
        self._states.save(self.optimizer.steps, self._tensors())

    def _tensors(self) -> dict[str, np.ndarray]:
        tensors = {**self.task.state()}
        tensors |= {f"optimizer.{name}": array for name, array in self.optimizer.arrays().items()}
        if self.loss_scale:
            tensors |= {f"loss_scale.{name}": array for name, array in self.loss_scale.state_dict().items()}
        return tensors

    def restore(self) -> None:
        """Go back to the newest state.

        Raises:
            CheckpointError: as `States.load`; "cannot resume (run): the state lacks stale; …"; "cannot resume (run):
                the state's stale is -1, expected a whole number from 0 to 5; …".
        """
        tensors = self._states.load()
        if missing := sorted(set(self.task.state()) - set(tensors)):
            raise CheckpointError(f"cannot resume ({self.folder}): the state lacks {listed(missing, room=80)}; start "
                                  "a new run in another folder")
        self._check_numbers(tensors)
        self.task.restore(tensors)
        self.optimizer.load_arrays(part_of(tensors, "optimizer."))
        if self.loss_scale:
            self.loss_scale.load_state_dict(part_of(tensors, "loss_scale."))

    def _check_numbers(self, tensors: dict[str, np.ndarray]) -> None:
        """Refuse counts that no run of so many steps has, and figures that are not at least 0."""
        for name, own in self._tensors().items():
            if own.ndim or name not in tensors:
                continue
            value, is_count = tensors[name], own.dtype.kind == "i"
            if value.ndim or value.dtype.kind != own.dtype.kind or not 0 <= value <= (
                    self.task.total if is_count else np.inf):
                expected = f"a whole number from 0 to {self.task.total:,}" if is_count else "a number of at least 0"
                raise CheckpointError(f"cannot resume ({self.folder}): the state's {name} is {_shown(value)}, expected "
                                      f"{expected}; start a new run in another folder")

    def checkpoint(self, log: Sequence[Progress]) -> None:
        """Write the models and then the state after the steps so far, unless the processes of a group disagree."""
        check_weights(self.group, self.optimizer.parameters, self.optimizer.steps)
        self.task.write(self.folder, log)
        self.save_state()

    def _is_due(self, step: int) -> bool:
        every = self.task.config.save_every
        return every > 0 and step % every == 0

    def _judge_last(self, log: Log) -> None:
        """Judge the model that was restored, if that failed when its step was done; else nothing is due."""
        if log.entries and log.entries[-1].step == self.optimizer.steps:
            last = log.entries[-1]
            judged = replace(last, scores=last.scores or self.task.scores(last.step))
            judged = replace(judged, samples=last.samples or _samples(self.task, last.step, self.group))
            if judged != last:
                log.amend(judged)
                self.task.logged(self.folder, log.entries)

    @property
    def is_done(self) -> bool:
        """Whether all steps are done."""
        return self.task.finished(self.optimizer.steps)

    def train(self, report: Callable[[Progress], None]) -> list[Progress]:
        """Do the steps that are left; returns the log of all steps.

        A picture that cannot be drawn does not stop a run: the caller draws it once more when the model is saved.

        Args:
            report: called after each step. If it raises, the state is saved first.
        """
        self.group.check_same({"step": self.optimizer.steps}, CheckpointError, str(self.folder))
        log = Log(self.folder / "log.jsonl", self.optimizer.steps)

        def unjudged(progress: Progress) -> None:
            log.append(progress)
            self.checkpoint(log.entries)

        self._judge_last(log)
        for progress in steps(self.task, self.optimizer, self.loss_scale, unjudged):
            log.append(progress)
            self.task.logged(self.folder, log.entries)
            due, finished = self._is_due(progress.step), self.task.finished(progress.step)
            if due or finished:
                self.checkpoint(log.entries)
            # Drawing takes about as long as some steps of a small model: where there are scores, they are the occasion.
            news = progress.scores or progress.samples or (due and not any(entry.scores for entry in log.entries))
            if news and not finished:
                with contextlib.suppress(TinygradError):
                    self.task.show(self.folder, log.entries)
            try:
                report(progress)
            except BaseException:  # Ctrl-C among them
                self.checkpoint(log.entries)
                with contextlib.suppress(TinygradError):
                    self.task.show(self.folder, log.entries)
                raise
        self.group.wait()  # for the files
        return log.entries


def _shown(array: np.ndarray) -> str:
    return f"{array.dtype} {array.shape}" if array.ndim else f"{array.item()!r:.40}"


def begin(folder: Path, notes: dict[str, Any], task: Task) -> Run:
    """A new run in a folder, which can be resumed from now on if it saves states."""
    run = Run(folder, notes, task)
    if task.config.save_every:
        run.save_state()
        write_run(folder, notes)  # the last: what is there now can be resumed
    return run
