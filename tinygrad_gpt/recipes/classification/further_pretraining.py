"""Further pretraining: the base learns to predict the task's own texts before it learns their labels.

Its run is in the folder `pretraining` of the finetuning run:

    config.json state-a.h5 state-b.h5 log.jsonl    as in any run
    model.h5                                       the base with the lowest loss on the validation texts

Source: Howard and Ruder 2018, arXiv:1801.06146; Gururangan et al. 2020, arXiv:2004.10964.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.data.batches import length_batches, pad
from tinygrad_gpt.data.classification import LabelledTexts, Split, normalise
from tinygrad_gpt.data.texts import read_texts
from tinygrad_gpt.engine import no_grad
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.models.bert import Bert
from tinygrad_gpt.models.gpt2 import GPT2
from tinygrad_gpt.optim import AdamW, warmup_cosine
from tinygrad_gpt.recipes.classification.classify import encode_texts
from tinygrad_gpt.recipes.classification.config import FinetuneConfig
from tinygrad_gpt.recipes.classification.task import next_tokens
from tinygrad_gpt.runs.folder import holds_run
from tinygrad_gpt.runs.progress import Progress
from tinygrad_gpt.runs.run import Run, Task, begin, part_of
from tinygrad_gpt.runs.saved_model import SavedModel, load_model, save_model
from tinygrad_gpt.text import Tokenizer

__all__ = ["FOLDER", "LanguageTask", "LanguageTexts", "language_task", "pieces", "pretrain_before",
           "pretrain_further"]

FOLDER = "pretraining"
PATIENCE = 2  # epochs without a lower validation loss


@dataclass(frozen=True)
class LanguageTexts:
    """Texts in tokens, to learn from and to measure on; the second may be empty."""

    train: list[list[int]]
    validation: list[list[int]]


def pieces(token_lists: Sequence[Sequence[int]], context: int) -> list[list[int]]:
    """Texts cut into pieces that fit the context; each begins with the last token of the one before.

    Texts with nothing to predict are left out.
    """
    return [list(ids[i:i + context]) for ids in token_lists for i in range(0, len(ids) - 1, context - 1)]


def next_token_loss(model: GPT2, ids: np.ndarray, lengths: np.ndarray) -> Tensor:
    """The mean loss () of predicting each token of some texts from those before it, in nats."""
    on_device = backend_of(model.wte.weight.data).from_numpy
    return model.loss(on_device(ids), on_device(next_tokens(ids, lengths)))


class LanguageTask(Task):
    """Predict the tokens of texts, and stop when that no longer improves on the validation texts.

    Args:
        config: of the finetuning run; its ``pretrain_epochs`` and ``pretrain_lr`` are those of this one.
        model: the base.
        tokenizer: its vocabulary, which is saved with it.
        texts: pieces of text that fit the model's context.

    Attributes:
        best_loss: lowest validation loss so far.
        stale: epochs since then.
    """

    def __init__(self, config: FinetuneConfig, model: GPT2, tokenizer: Tokenizer, texts: LanguageTexts):
        self.config, self.model, self.tokenizer, self.texts = config, model, tokenizer, texts
        lengths = np.array([len(ids) for ids in texts.train])
        epochs = [length_batches(lengths, config.batch_size, seed=config.seed, epoch=epoch)
                  for epoch in range(config.pretrain_epochs)]
        self.steps = [rows for epoch in epochs for rows in epoch]
        self.total, self.steps_per_epoch = len(self.steps), len(epochs[0])
        self.seen = np.cumsum([lengths[rows].sum() for rows in self.steps])
        self.best_loss, self.stale = math.inf, 0

    def optimizer(self) -> AdamW:
        return AdamW(self.model.parameters(), self.config.pretrain_lr, weight_decay=self.config.weight_decay,
                     decayed_axes=2)

    def rate(self, step: int) -> float:
        return warmup_cosine(step, self.total, peak=self.config.pretrain_lr, warmup=self.total // 10)

    def losses(self, step: int) -> list[Callable[[], Tensor]]:
        return [partial(next_token_loss, self.model, *self._batch(self.texts.train, self.steps[step]))]

    def _batch(self, texts: list[list[int]], rows: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return pad([texts[i] for i in rows], self.tokenizer.eot_id)

    def tokens(self, done: int) -> int:
        return int(self.seen[done - 1])

    def scores(self, done: int) -> dict[str, float]:
        """The loss on the validation texts at the end of an epoch; keeps count of how long it has not fallen."""
        if done % self.steps_per_epoch or not self.texts.validation:
            return {}
        loss = self._validation_loss()
        self.stale = 0 if loss < self.best_loss else self.stale + 1
        self.best_loss = min(loss, self.best_loss)
        return {"language_loss": loss}

    def _validation_loss(self) -> float:
        """Mean over all tokens that are predicted."""
        texts, total = self.texts.validation, 0.0
        counts = np.array([len(ids) - 1 for ids in texts])
        self.model.eval()
        with no_grad():
            for rows in length_batches(counts, self.config.batch_size, seed=0, epoch=0, shuffle=False):
                total += next_token_loss(self.model, *self._batch(texts, rows)).item() * int(counts[rows].sum())
        return total / int(counts.sum())

    def finished(self, done: int) -> bool:
        return done >= self.total or self.stale >= PATIENCE

    def logged(self, folder: Path, log: Sequence[Progress]) -> None:
        """Save the model whenever it is the best; without validation texts, at the end."""
        last = log[-1]
        if (last.scores and not self.stale) or (last.step == self.total and not self.texts.validation):
            notes = {"recipe": "further pretraining", "step": last.step, **last.scores}
            save_model(folder / "model.h5", SavedModel(self.model, self.tokenizer, (), notes))

    def state(self) -> dict[str, np.ndarray]:
        tensors = {f"model.{name}": array for name, array in self.model.arrays().items()}
        return tensors | {"best_loss": np.array(self.best_loss), "stale": np.array(self.stale)}

    def restore(self, tensors: dict[str, np.ndarray]) -> None:
        self.model.load_state_dict(part_of(tensors, "model."))
        self.best_loss, self.stale = float(tensors["best_loss"]), int(tensors["stale"])


def language_task(config: FinetuneConfig, data: LabelledTexts, split: Split, base: GPT2 | Bert,
                  tokenizer: Tokenizer) -> LanguageTask:
    """What the base is to learn: the training texts, and those of the unlabelled file.

    Of the unlabelled texts those are left out that are also training, validation or test texts.

    Raises:
        DataError: the unlabelled file cannot be read.
    """
    assert isinstance(base, GPT2)  # `load_base` refuses to pretrain others
    train, validation = ([data.texts[i] for i in part] for part in (split.train, split.validation))
    if config.unlabelled:
        unlabelled, _ = read_texts(config.unlabelled, None, encoding=config.encoding,
                                   skip_malformed=config.skip_malformed)
        known = {normalise(data.texts[i]) for i in split.rows}
        train += [text for text in unlabelled if text.strip() and normalise(text) not in known]

    def encoded(texts: list[str]) -> list[list[int]]:
        return pieces(encode_texts(tokenizer, texts, None)[0], base.config.n_ctx)

    return LanguageTask(config, base, tokenizer, LanguageTexts(encoded(train), encoded(validation)))


def pretrain_further(task: LanguageTask, folder: Path, notes: Mapping[str, Any],
                     report: Callable[[Progress], None]) -> list[Progress]:
    """Do the steps that are left of a run in a folder, begun where it is not, and give the model its best weights.

    Args:
        notes: what config.json holds, or will hold.
        report: called after each step. If it raises, the state is saved first.

    Returns:
        The log of all steps.

    Raises:
        CheckpointError, NonFiniteError, ResourceError: one line that says what to do.
    """
    if holds_run(folder):
        run = Run(folder, dict(notes), task)
        run.restore()
    else:
        folder.mkdir(exist_ok=True)
        run = begin(folder, dict(notes), task)
    log = run.train(report)
    task.model.load_state_dict(load_model(folder / "model.h5").transformer.arrays())
    return log


def pretrain_before(run: Run, task: LanguageTask, notes: Mapping[str, Any],
                    report: Callable[[Progress], None]) -> Callable[[Progress], None]:
    """Pretrain the base of a finetuning run, as far as that is not done, and give its weights to the run's model.

    Args:
        run: as it was begun, or restored.
        notes: what the run's config.json holds.

    Returns:
        What to call after a step of the run: to the user, both are one.

    Raises:
        CheckpointError, NonFiniteError, ResourceError: as `pretrain_further`.
    """
    model = run.task.model
    trained = {name: array.copy() for name, array in run.task.state().items()} if run.optimizer.steps else {}
    total = task.total + run.task.total
    last = pretrain_further(task, run.folder / FOLDER, {**notes, "recipe": "further pretraining"},
                            lambda progress: report(replace(progress, total=total)))[-1]
    model.transformer.adopt_state_dict(model.transformer.arrays() | task.model.arrays())
    run.task.restore(trained)
    return lambda progress: report(replace(
        progress, step=last.step + progress.step, total=last.step + run.task.total,
        tokens=last.tokens + progress.tokens, seconds=last.seconds + progress.seconds))
