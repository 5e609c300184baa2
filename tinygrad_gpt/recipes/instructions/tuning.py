"""Tune a language model on instructions: what the runs on instructions, preferences and rewards share.

Of the files of a pretraining run (see `recipes/pretraining/task.py`) the folder holds config.json, state-a.h5,
state-b.h5, log.jsonl and samples.txt, and at the end model.h5 and curves.png. The states hold only what is trained, so
that resuming needs the base and the data as they were.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tinygrad_gpt import __version__
from tinygrad_gpt.backend.precision import check_precision, precision
from tinygrad_gpt.checkpoints import native
from tinygrad_gpt.data.batches import length_batches
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.figures.pictures import Curve, draw_curves
from tinygrad_gpt.files import run_lock, sha256_of
from tinygrad_gpt.models.gpt2 import GPT2
from tinygrad_gpt.models.lora import apply_lora, merge_lora, uniform_by_inputs
from tinygrad_gpt.optim import AdamW, warmup_cosine
from tinygrad_gpt.recipes.instructions.config import TuningConfig
from tinygrad_gpt.recipes.instructions.respond import settled_style
from tinygrad_gpt.runs.folder import (
    absolute,
    check_given,
    read_run,
    refuse_changed_files,
    refuse_second_run,
    settings_of,
    write_samples,
)
from tinygrad_gpt.runs.progress import Progress
from tinygrad_gpt.runs.run import Run, Task, begin, part_of
from tinygrad_gpt.runs.saved_model import SavedModel, load_model, model_file, origin, save_model
from tinygrad_gpt.text import Tokenizer
from tinygrad_gpt.train import Batch
from tinygrad_gpt.train.memory import Plan, check_memory, memory_estimate

__all__ = ["Objective", "TuningTask", "nothing", "resume", "start"]


class Objective(Protocol):
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

    def loss(self, rows: np.ndarray, step: int, part: slice) -> Tensor:
        """The loss () of a part of some training entries, a mean, in tensors that are as long as those of all.

        Whatever it draws depends on the step, from 0. The texts of an entry are neighbours in the batch.
        """
        ...

    def count(self, rows: np.ndarray, part: slice) -> int:
        """How many tokens, or pairs, that is the mean over."""
        ...

    def scores(self) -> dict[str, float]:
        """How good the model is now, by the names of figures, among them "training_loss" and "validation_loss"."""
        ...

    def samples(self) -> list[str]:
        """What the model answers now."""
        ...


MakeObjective = Callable[[Any, GPT2, Tokenizer], Objective]


def nothing(*args: Any) -> None:
    """A callback that does nothing."""


def start(make: MakeObjective, config: TuningConfig, out: str | Path, *, report: Callable[[Progress], None] = nothing,
          ready: Callable[[], None] = nothing) -> SavedModel:
    """Start a run and do all its steps.

    Args:
        make: gives the objective.
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
    refuse_second_run(out)
    check_precision(config.precision)
    base = load_model(config.base)
    config = replace(config, style=settled_style(base, config.style))
    model, objective = _prepare(make, config, base)
    with precision(config.precision):
        before = objective.scores()
    config = replace(config, data=absolute(config.data), base=absolute(config.base))
    out.mkdir(parents=True, exist_ok=True)
    with run_lock(out), precision(config.precision):
        refuse_second_run(out)  # which may have begun while the data were read
        notes = {"version": __version__, "recipe": objective.recipe, "config": asdict(config),
                 "sha256": _digests(config), "before": before}
        run = begin(out, notes, TuningTask(config, model, objective, before))
        ready()
        return _finish(run, notes, base.tokenizer, report)


def resume(make: MakeObjective, kind: type[TuningConfig], out: str | Path, given: Mapping[str, Any] | None = None, *,
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
    config = settings_of(kind, notes, out)
    check_given(out, config, {name: absolute(value) if name in ("data", "base") else value
                              for name, value in (given or {}).items()})
    if _is_finished(out):
        return load_model(out / "model.h5")
    refuse_changed_files(out, _digests(config), notes["sha256"])
    base = load_model(config.base)
    task = TuningTask(config, *_prepare(make, config, base), notes["before"])
    with run_lock(out), precision(config.precision):
        run = Run(out, notes, task)
        run.restore()
        ready()
        return _finish(run, notes, base.tokenizer, report)


def _is_finished(out: Path) -> bool:
    """Whether the model is there with its last scores, and the curves were drawn behind it."""
    model, curves = out / "model.h5", out / "curves.png"
    return (model.exists() and curves.is_file() and curves.stat().st_mtime_ns >= model.stat().st_mtime_ns
            and bool(native.load_metadata(model)["provenance"].get("after")))


def _digests(config: TuningConfig) -> dict[str, str]:
    """sha256 of the files that the run is made of, by name."""
    return {Path(file).name: sha256_of(file) for file in (config.data, model_file(config.base))}


def _prepare(make: MakeObjective, config: TuningConfig, base: SavedModel) -> tuple[GPT2, Objective]:
    """The model before the first step, with what is trained, and the objective, if there is memory."""
    model = GPT2(replace(base.transformer.config, dropout=config.dropout), seed=None)
    model.adopt_state_dict(base.transformer.arrays())
    if config.train == "lora":
        apply_lora(model, config.rank, config.alpha, config.targets.split(","), uniform_by_inputs(config.seed))
    objective = make(config, model, base.tokenizer)
    plan = Plan(blocks=None if config.train == "all" else model.config.n_layer,
                trained=sum(p.size for p in model.trainable()), accumulate=config.accumulate > 1,
                whole_logits=objective.texts > 1, precision=config.precision)
    rows, longest = objective.texts * config.batch_size, int(objective.lengths.max())
    check_memory(memory_estimate(model.config, rows, longest, plan), "LoRA")
    return model, objective


class TuningTask(Task):
    """Epochs over batches of entries of about one length, and what is written about them.

    Args:
        config, model, objective: settings, the model before the first step, and what it is tuned for.
        before: its scores.
    """

    def __init__(self, config: TuningConfig, model: GPT2, objective: Objective, before: dict[str, float]):
        self.config, self.model, self.objective, self.before = config, model, objective, before
        self.trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._epoch: tuple[int, list[list[np.ndarray]]] = -1, []  # the one at hand, and its batches
        self.steps_per_epoch = len(self._batches(0))
        self.total = config.epochs * self.steps_per_epoch

    def optimizer(self) -> AdamW:
        return AdamW(self.trained.values(), self.config.lr, weight_decay=self.config.weight_decay,
                     decayed_axes=2)

    def rate(self, step: int) -> float:
        if self.config.schedule == "constant":
            return self.config.lr
        return warmup_cosine(step, self.total, peak=self.config.lr, warmup=self.total // 10)

    def batches(self, step: int) -> list[Batch]:
        epoch, place = divmod(step, self.steps_per_epoch)
        return [self._batch(rows, step) for rows in self._batches(epoch)[place]]

    def _batch(self, rows: np.ndarray, step: int) -> Batch:
        return Batch(len(rows), lambda part: (self.objective.count(rows, part),),
                     lambda part, factor: self.objective.loss(rows, step, part) * factor)

    def rows(self) -> int:
        return min(self.config.batch_size, len(self.objective.lengths))

    def tokens(self, done: int) -> int:
        epoch, place = divmod(done - 1, self.steps_per_epoch)
        lengths = self.objective.lengths
        here = sum(lengths[rows].sum() for step in self._batches(epoch)[:place + 1] for rows in step)
        return int(epoch * lengths.sum() + here)

    def scores(self, done: int) -> dict[str, float]:
        return self.objective.scores() if self._evaluated(done) else {}

    def samples(self, done: int) -> list[str]:
        return self.objective.samples() if self._evaluated(done) else []

    def show(self, folder: Path, log: Sequence[Progress]) -> None:
        """Write samples.txt, if there are any, and curves.png."""
        if any(entry.samples for entry in log):
            write_samples(folder, log)
        judged = [entry for entry in log if entry.scores]
        curves: dict[str, Curve] = {name: (
            [0, *(entry.step for entry in judged)],
            [self.before[f"{name}_loss"], *(entry.scores[f"{name}_loss"] for entry in judged)],
        ) for name in ("training", "validation")}
        curves["batches of a step"] = [entry.step for entry in log], [entry.loss for entry in log]
        draw_curves(folder / "curves.png", {"loss": curves}, x="step",
                    top=("entries read", len(self.objective.lengths) / self.steps_per_epoch))

    def state(self) -> dict[str, np.ndarray]:
        return {f"model.{name}": parameter.numpy() for name, parameter in self.trained.items()}

    def restore(self, tensors: dict[str, np.ndarray]) -> None:
        self.model.adopt_state_dict(self.model.arrays() | part_of(tensors, "model."))

    def _evaluated(self, done: int) -> bool:
        return done % self.config.eval_every == 0 or done == self.total

    def _batches(self, epoch: int) -> list[list[np.ndarray]]:
        """The batches of each step of an epoch: rows of the training entries."""
        if epoch != self._epoch[0]:
            config = self.config
            batches = length_batches(self.objective.lengths, config.batch_size, seed=config.seed, epoch=epoch)
            self._epoch = epoch, [batches[i:i + config.accumulate] for i in range(0, len(batches), config.accumulate)]
        return self._epoch[1]


def _finish(run: Run, notes: dict[str, Any], tokenizer: Tokenizer, report: Callable[[Progress], None]) -> SavedModel:
    """Do the steps that are left, and write the model; only then is anything drawn."""
    try:
        log = run.train(report)
    except Exception:
        if run.is_done:  # what failed is the last evaluation
            _save(run, notes, tokenizer, {})
        raise
    _save(run, notes, tokenizer, log[-1].scores)
    run.group.wait()  # until the first rank has written it
    run.task.show(run.folder, log)
    return load_model(run.folder / "model.h5")


def _save(run: Run, notes: dict[str, Any], tokenizer: Tokenizer, after: dict[str, float]) -> None:
    """Write the model, with its scores behind the last step."""
    task = run.task
    assert isinstance(task, TuningTask)
    config, model = task.config, task.model
    trained = sum(p.size for p in task.trained.values())
    if config.train == "lora":
        merge_lora(model)
    provenance = origin(task.objective.recipe, config, [config.data, str(model_file(config.base))]) | {
        "version": notes["version"], "counts": task.objective.counts, "before": notes["before"],
        "after": after, "trained": trained}
    saved = SavedModel(model.eval(), tokenizer, (), provenance)
    save_model(run.folder / "model.h5", saved, np.float16 if config.float16 else np.float32)
