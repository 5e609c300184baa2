"""Further pretraining: the base learns to predict the task's own texts before it learns their labels.

A GPT-2 predicts each next token, an encoder the tokens that are hidden from it.

Its run is in the folder `pretraining` of the finetuning run:

    config.json state-a.h5 state-b.h5 log.jsonl    as in any run
    model.h5                                       the base with the lowest loss on the validation texts

Source: Howard and Ruder 2018, arXiv:1801.06146; Gururangan et al. 2020, arXiv:2004.10964.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.checkpoints.masked_head import has_masked_head, read_masked_head
from tinygrad_gpt.checkpoints.native import is_native
from tinygrad_gpt.data.batches import length_batches, pad
from tinygrad_gpt.data.classification import LabelledTexts, Split
from tinygrad_gpt.data.masking import mask_tokens
from tinygrad_gpt.engine import no_grad
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.models.bert import Bert
from tinygrad_gpt.models.gpt2 import GPT2
from tinygrad_gpt.models.masked_lm import MaskedLM
from tinygrad_gpt.optim import AdamW, warmup_cosine
from tinygrad_gpt.parallel.group import current_group
from tinygrad_gpt.recipes.classification.classify import encode_texts
from tinygrad_gpt.recipes.classification.config import FinetuneConfig
from tinygrad_gpt.recipes.classification.parts import read_unlabelled
from tinygrad_gpt.recipes.classification.task import next_tokens
from tinygrad_gpt.runs.folder import holds_run
from tinygrad_gpt.runs.progress import Progress
from tinygrad_gpt.runs.run import Run, Task, begin, part_of
from tinygrad_gpt.runs.saved_model import SavedModel, load_model, model_file, save_model
from tinygrad_gpt.text import Tokenizer
from tinygrad_gpt.train import Batch

__all__ = ["FOLDER", "LanguageTask", "LanguageTexts", "MaskedTask", "framed_pieces", "language_task", "pieces",
           "pretrain_before", "pretrain_further"]

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


def framed_pieces(token_lists: Sequence[Sequence[int]], context: int) -> list[list[int]]:
    """Texts between two special tokens, cut into pieces that fit the context, each between the two.

    Texts with nothing between them are left out.
    """
    return [[ids[0], *ids[i:min(i + context - 2, len(ids) - 1)], ids[-1]]
            for ids in token_lists for i in range(1, len(ids) - 1, context - 2)]


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

    def __init__(self, config: FinetuneConfig, model: GPT2 | MaskedLM, tokenizer: Tokenizer, texts: LanguageTexts):
        self.config, self.model, self.tokenizer, self.texts = config, model, tokenizer, texts
        lengths = np.array([len(ids) for ids in texts.train])
        epochs = [length_batches(lengths, config.batch_size, seed=config.seed, epoch=epoch)
                  for epoch in range(config.pretrain_epochs)]
        self.steps = [rows for epoch in epochs for rows in epoch]
        self.total, self.steps_per_epoch = len(self.steps), len(epochs[0])
        self.seen = np.cumsum([lengths[rows].sum() for rows in self.steps])
        self.best_loss, self.stale = math.inf, 0

    @property
    def base(self) -> GPT2 | Bert:
        """What is finetuned afterwards: the model, without a head that is only for this."""
        return self.model.transformer if isinstance(self.model, MaskedLM) else self.model

    def optimizer(self) -> AdamW:
        return AdamW(self.model.parameters(), self.config.pretrain_lr, weight_decay=self.config.weight_decay,
                     decayed_axes=2)

    def rate(self, step: int) -> float:
        return warmup_cosine(step, self.total, peak=self.config.pretrain_lr, warmup=self.total // 10)

    def batches(self, step: int) -> list[Batch]:
        return [self.prediction([self.texts.train[i] for i in self.steps[step]], (1, step))]

    def prediction(self, texts: list[list[int]], draw: tuple[int, int]) -> Batch:
        """The tokens to predict in some texts; the loss is their mean, in nats.

        Args:
            draw: numbers for the batch, from which random choices are made; the same ones make the same choices.
        """
        ids, lengths = pad(texts, self.tokenizer.eot_id)

        def loss(rows: slice, factor: float) -> Tensor:
            return next_token_loss(self.model, ids[rows], lengths[rows]) * factor

        return Batch(len(texts), lambda rows: (int((lengths[rows] - 1).sum()),), loss)

    def rows(self) -> int:
        return max(map(len, self.steps))

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
        texts, group = self.texts.validation, current_group()
        batches = length_batches([len(ids) for ids in texts], self.config.batch_size, seed=0, epoch=0, shuffle=False)
        sums = np.zeros((len(batches), 2))  # nats and tokens of each batch
        self.model.eval()
        with no_grad():
            for place in range(group.rank, len(batches), group.size):
                batch = self.prediction([texts[i] for i in batches[place]], (0, place))
                whole = slice(0, batch.size)
                count, = batch.counts(whole)
                sums[place] = batch.loss(whole, 1.0).item() * count, count
        total, number = group.total(sums).sum(axis=0)
        return float(total / number)

    def finished(self, done: int) -> bool:
        return done >= self.total or self.stale >= PATIENCE

    def logged(self, folder: Path, log: Sequence[Progress]) -> None:
        """Save the model whenever it is the best; without validation texts, at the end."""
        last = log[-1]
        if (last.scores and not self.stale) or (last.step == self.total and not self.texts.validation):
            notes = {"recipe": "further pretraining", "step": last.step, **last.scores}
            save_model(folder / "model.h5", SavedModel(self.base, self.tokenizer, (), notes))

    def state(self) -> dict[str, np.ndarray]:
        tensors = {f"model.{name}": array for name, array in self.model.arrays().items()}
        return tensors | {"best_loss": np.array(self.best_loss), "stale": np.array(self.stale)}

    def restore(self, tensors: dict[str, np.ndarray]) -> None:
        self.model.load_state_dict(part_of(tensors, "model."))
        self.best_loss, self.stale = float(tensors["best_loss"]), int(tensors["stale"])


class MaskedTask(LanguageTask):
    """Predict the hidden tokens of texts, others in every step.

    Args:
        model: the base with its masked-language head.

    Source: Devlin et al. 2019, section 3.1; Liu et al. 2019, arXiv:1907.11692, section 4.1.
    """

    model: MaskedLM

    def prediction(self, texts: list[list[int]], draw: tuple[int, int]) -> Batch:
        tokenizer = self.tokenizer
        assert tokenizer.pad_id is not None  # `masked_lm_of` looked
        assert tokenizer.mask_id is not None
        ids, lengths = pad(texts, tokenizer.pad_id)
        visible = np.arange(ids.shape[1]) < lengths[:, None]  # (B, T)
        maskable = visible & (ids != tokenizer.cls_id) & (ids != tokenizer.sep_id)
        generator = np.random.default_rng((self.config.seed, *draw))
        hidden, targets = mask_tokens(ids, maskable, tokenizer.mask_id, tokenizer.vocab_size, generator)
        on_device = backend_of(self.base.wte.weight.data).from_numpy

        def loss(rows: slice, factor: float) -> Tensor:
            return self.model.loss(on_device(hidden[rows]), targets[rows], on_device(visible[rows])) * factor

        return Batch(len(texts), lambda rows: (int((targets[rows] >= 0).sum()),), loss)


def masked_lm_of(base: Bert, tokenizer: Tokenizer, config: FinetuneConfig) -> MaskedLM:
    """The base with the masked-language head that was published with it, or with a new one.

    Raises:
        UsageError: "cannot pretrain (bert): its vocabulary has no token for a hidden word; …".
    """
    if None in (tokenizer.mask_id, tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id):
        raise UsageError(f"cannot pretrain ({config.base}): its vocabulary has no token for a hidden word; leave out "
                         "pretrain_epochs")
    encoder = Bert(replace(base.config, pooler="none"), seed=None)  # which no hidden token reads
    arrays = base.arrays()
    encoder.adopt_state_dict({name: arrays[name] for name in encoder.arrays()})
    model, file = MaskedLM(encoder, config.seed), model_file(config.base)
    if not is_native(file) and has_masked_head(file):
        model.masked_head.adopt_state_dict(read_masked_head(file))
    return model


def language_task(config: FinetuneConfig, data: LabelledTexts, split: Split, base: GPT2 | Bert,
                  tokenizer: Tokenizer) -> LanguageTask:
    """What the base is to learn: the training texts, and those of the unlabelled file.

    Of the unlabelled texts those are left out that are also training, validation or test texts.

    Raises:
        DataError: the unlabelled file cannot be read.
    """
    train, validation = ([data.texts[i] for i in part] for part in (split.train, split.validation))
    train += read_unlabelled(config, data, split)

    cut = pieces if isinstance(base, GPT2) else framed_pieces
    texts = LanguageTexts(*(cut(encode_texts(tokenizer, part, None)[0], base.config.n_ctx)
                            for part in (train, validation)))
    if isinstance(base, GPT2):
        return LanguageTask(config, base, tokenizer, texts)
    return MaskedTask(config, masked_lm_of(base, tokenizer, config), tokenizer, texts)


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
    task.base.load_state_dict(load_model(folder / "model.h5").base.arrays())
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
    model.transformer.adopt_state_dict(model.transformer.arrays() | task.base.arrays())
    run.task.restore(trained)
    return lambda progress: report(replace(
        progress, step=last.step + progress.step, total=last.step + run.task.total,
        tokens=last.tokens + progress.tokens, seconds=last.seconds + progress.seconds))
