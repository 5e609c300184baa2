"""Tune a language model on a task that is given by a loss; a run that was stopped, however, is resumed bit for bit.

A run's folder holds, of those of a pretraining run (see `pretrain_run.py`), config.json, state-a.h5, state-b.h5,
log.jsonl and samples.txt; at the end there are model.h5, curves.png and, of LoRA, adapter.h5. The states hold what is
trained only, so that resuming needs the base and the data as they were.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from os.path import abspath
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tinygrad_gpt import __version__
from tinygrad_gpt.backend.precision import precision
from tinygrad_gpt.data.batches import length_batches
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import CheckpointError, UsageError
from tinygrad_gpt.figures.pictures import draw_curves
from tinygrad_gpt.files import run_lock, write_atomic
from tinygrad_gpt.models.gpt2 import GPT2, seed_dropout
from tinygrad_gpt.models.lora import apply_lora, merge_lora, save_adapter, uniform_by_inputs
from tinygrad_gpt.optim import AdamW, warmup_cosine
from tinygrad_gpt.recipes.instructions.config import TuningConfig
from tinygrad_gpt.recipes.instructions.respond import settled_style
from tinygrad_gpt.runs.folder import Log, States, holds_run, read_run, run_digest, write_run
from tinygrad_gpt.runs.progress import Progress
from tinygrad_gpt.runs.saved_model import SavedModel, file_digest, load_model, model_file, origin, save_model
from tinygrad_gpt.text import Tokenizer
from tinygrad_gpt.train import LossScale, train_step
from tinygrad_gpt.train.memory import check_memory, memory_estimate

__all__ = ["Task", "nothing", "resume", "start"]


class Task(Protocol):
    """What a model is tuned for. It is made from settings, model and vocabulary, before anything is trained.

    Attributes:
        recipe: its name for provenance.
        counts: one line that says where the entries of the file went.
        texts: that the model reads for each entry.
        lengths: (N) integers, tokens of each training entry, of the longest of its texts.
    """

    recipe: str
    counts: str
    texts: int
    lengths: np.ndarray

    def loss(self, rows: np.ndarray) -> Tensor:
        """The loss () of some training entries."""
        ...

    def scores(self) -> dict[str, float]:
        """How good the model is now, by the names of figures, among them "validation_loss"."""
        ...

    def samples(self) -> list[str]:
        """What the model answers now."""
        ...


MakeTask = Callable[[Any, GPT2, Tokenizer], Task]


def nothing(*args: Any) -> None:
    """What is called where nobody wants to know."""


def start(make: MakeTask, config: TuningConfig, out: str | Path, *, report: Callable[[Progress], None] = nothing,
          ready: Callable[[], None] = nothing) -> SavedModel:
    """Start a run and do all its steps.

    Args:
        make: gives the task.
        config: the run.
        out: a folder, made if absent.
        report: called after each step. If it raises, the state is saved first.
        ready: called once, when the run can be resumed.

    Returns:
        The model; its provenance has the figures "before" and "after".

    Raises:
        DataError, UsageError, CheckpointError, NonFiniteError, ResourceError: with one line that says what to do.
    """
    out = Path(out)
    _refuse_second_run(out)
    base = load_model(config.base)
    config = replace(config, style=settled_style(base, config.style))
    model, task = _prepare(make, config, base)
    with precision(config.precision):
        before = task.scores()
    config = replace(config, data=_absolute(config.data), base=_absolute(config.base))
    out.mkdir(parents=True, exist_ok=True)
    with run_lock(out), precision(config.precision):
        _refuse_second_run(out)  # which may have begun while the data were read
        notes = {"version": __version__, "recipe": task.recipe, "config": asdict(config),
                 "sha256": _digests(config), "before": before}
        run = _Run(out, notes, config, model, base.tokenizer, task)
        run.save_state()
        write_run(out, notes)  # the last: what is there now can be resumed
        ready()
        return _train(run, report)


def resume(make: MakeTask, kind: type[TuningConfig], out: str | Path, given: Mapping[str, Any] | None = None, *,
           report: Callable[[Progress], None] = nothing, ready: Callable[[], None] = nothing) -> SavedModel:
    """Go on with a run that was stopped; a finished one is left as it is.

    Args:
        make, report, ready: as in `start`.
        kind: of its settings.
        out: its folder.
        given: settings by name that must be those of the run.

    Raises:
        DataError, UsageError, CheckpointError, NonFiniteError, ResourceError: with one line that says what to do.
    """
    out = Path(out)
    notes = read_run(out)
    try:
        config = kind(**notes["config"])
    except (TypeError, KeyError) as error:
        raise CheckpointError(f"cannot resume ({out}): its settings are of another command or version ({error}); use "
                              "that one, or start a new run in another folder") from error
    _check_given(out, config, given or {})
    if (out / "model.h5").exists():
        return load_model(out / "model.h5")
    if (found := _digests(config)) != notes["sha256"]:
        changed = [name for name in notes["sha256"] if found.get(name) != notes["sha256"][name]]
        raise CheckpointError(f"cannot resume ({out}): {' and '.join(changed)} changed since it was started; put the "
                              "file back, or start a new run in another folder")
    base = load_model(config.base)
    model, task = _prepare(make, config, base)
    with run_lock(out), precision(config.precision):
        run = _Run(out, notes, config, model, base.tokenizer, task)
        run.restore()
        ready()
        return _train(run, report)


def _refuse_second_run(out):
    if holds_run(out):
        raise UsageError(f"cannot start ({out}): a run is already there; resume it or choose another folder")


def _check_given(out, config, given):
    """Refuse settings that are not the run's: they would change it silently."""
    for name, value in given.items():
        if name in ("data", "base"):
            value = _absolute(value)
        if value != getattr(config, name):
            raise UsageError(f"cannot resume ({out}): {name} is {value}, but the run has {getattr(config, name)}; "
                             "leave it out, or start a new run in another folder")


def _absolute(path: str) -> str:
    """A path that holds from any folder; what is no path, such as the name of a model, stays."""
    return abspath(path) if Path(path).exists() else path


def _digests(config: TuningConfig) -> dict[str, str]:
    """sha256 of the files that the run is made of, by name."""
    return {Path(file).name: file_digest(file) for file in (config.data, model_file(config.base))}


def _prepare(make: MakeTask, config: TuningConfig, base: SavedModel) -> tuple[GPT2, Task]:
    """The model before the first step, of which the right parameters are trained, and the task, if there is memory."""
    model = GPT2(replace(base.transformer.config, dropout=config.dropout), seed=None)
    model.adopt_state_dict(base.transformer.state_dict())
    if config.train == "lora":
        apply_lora(model, config.rank, config.alpha, config.targets.split(","), uniform_by_inputs(config.seed))
    task = make(config, model, base.tokenizer)
    check_memory(memory_estimate(
        model.config, task.texts * config.batch_size, int(task.lengths.max()),
        blocks=None if config.train == "all" else model.config.n_layer, trained=sum(p.size for p in model.trainable()),
        accumulate=config.accumulate > 1, whole_logits=task.texts > 1, precision=config.precision), "LoRA")
    return model, task


class _Run:
    """What a run works on."""

    def __init__(self, folder: Path, notes: dict[str, Any], config: TuningConfig, model: GPT2, tokenizer: Tokenizer,
                 task: Task):
        self.folder, self.notes, self.config = folder, notes, config
        self.model, self.tokenizer, self.task = model, tokenizer, task
        self.trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.optimizer = AdamW(self.trained.values(), config.lr, weight_decay=config.weight_decay)
        self.loss_scale = LossScale() if config.precision == "float16" else None
        self.steps_per_epoch = len(self.batches(0))
        self.total = config.epochs * self.steps_per_epoch
        self._states = States(folder, run_digest(notes))

    def batches(self, epoch: int) -> list[list[np.ndarray]]:
        """The batches of each step of an epoch: rows of the training entries."""
        config = self.config
        batches = length_batches(self.task.lengths, config.batch_size, seed=config.seed, epoch=epoch)
        return [batches[i:i + config.accumulate] for i in range(0, len(batches), config.accumulate)]

    def save_state(self) -> None:
        """Write all that the next step depends on."""
        tensors = {f"model.{name}": parameter.numpy() for name, parameter in self.trained.items()}
        tensors |= {f"optimizer.{name}": array for name, array in self.optimizer.state_dict().items()}
        if self.loss_scale:
            tensors |= {f"loss_scale.{name}": array for name, array in self.loss_scale.state_dict().items()}
        self._states.save(self.optimizer.steps, tensors)

    def restore(self) -> None:
        """Go back to the newest state."""
        tensors = self._states.load()
        model, optimizer, scale = ({name.removeprefix(kind): array for name, array in tensors.items()
                                    if name.startswith(kind)} for kind in ("model.", "optimizer.", "loss_scale."))
        if missing := set(self.trained) - set(model):
            raise CheckpointError(f"cannot resume ({self.folder}): the state lacks {', '.join(sorted(missing))}; "
                                  "start a new run in another folder")
        self.model.adopt_state_dict(self.model.state_dict() | model)
        self.optimizer.load_state_dict(optimizer)
        if self.loss_scale:
            self.loss_scale.load_state_dict(scale)

    def finish(self, log: list[Progress]) -> SavedModel:
        """Write the model and all about it."""
        config = self.config
        draw_curves(self.folder / "curves.png", {"loss": {
            "training": ([p.step for p in log], [p.loss for p in log]),
            "validation": ([0, *(p.step for p in log if p.scores)],
                           [self.notes["before"]["validation_loss"],
                            *(p.scores["validation_loss"] for p in log if p.scores)])}}, x="step")
        if config.train == "lora":
            save_adapter(self.folder / "adapter.h5", self.model, rank=config.rank, alpha=config.alpha,
                         targets=config.targets.split(","))
            merge_lora(self.model)
        files = [config.data, str(model_file(config.base))]
        provenance = origin(self.task.recipe, config, files) | {
            "version": self.notes["version"], "counts": self.task.counts, "before": self.notes["before"],
            "after": log[-1].scores, "trained": sum(p.size for p in self.trained.values())}
        saved = SavedModel(self.model.eval(), self.tokenizer, (), provenance)
        save_model(self.folder / "model.h5", saved, np.float16 if config.float16 else np.float32)
        return load_model(self.folder / "model.h5")


def _train(run: _Run, report: Callable[[Progress], None]) -> SavedModel:
    """Do the steps that are left."""
    config, task, started = run.config, run.task, time.monotonic()
    log = Log(run.folder / "log.jsonl", run.optimizer.steps)
    epoch, batches = -1, []
    while run.optimizer.steps < run.total:
        now, place = divmod(run.optimizer.steps, run.steps_per_epoch)
        if now != epoch:
            epoch, batches = now, run.batches(now)
        loss, norm = _step(run, batches[place])
        done = run.optimizer.steps
        evaluated = done % config.eval_every == 0 or done == run.total
        tokens = epoch * task.lengths.sum() + sum(task.lengths[rows].sum() for step in batches[:place + 1]
                                                  for rows in step)
        progress = Progress(done, run.total, loss, norm, run.optimizer.lr, int(tokens), time.monotonic() - started,
                            task.scores() if evaluated else {}, task.samples() if evaluated else [])
        log.append(progress)
        if progress.samples:
            texts = [f"--- after step {entry.step:,}\n\n{text}\n" for entry in log.entries for text in entry.samples]
            write_atomic(run.folder / "samples.txt", "\n".join(texts).encode(errors="replace"))
        if done % config.save_every == 0 or done == run.total:
            run.save_state()
        try:
            report(progress)
        except BaseException:  # Ctrl-C among them
            run.save_state()
            raise
    return run.finish(log.entries)


def _step(run: _Run, batches: list[np.ndarray]) -> tuple[float, float]:
    """One optimiser step; returns the loss and the norm of the gradient."""
    config, step = run.config, run.optimizer.steps
    seed_dropout(run.model.train(), config.seed, step)
    if config.schedule == "cosine":
        run.optimizer.lr = warmup_cosine(step, run.total, peak=config.lr, warmup=run.total // 10)
    return train_step([partial(run.task.loss, rows) for rows in batches], run.optimizer, config.max_norm,
                      f"step {step + 1}", run.model, run.loss_scale)
