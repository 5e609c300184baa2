"""What finetuning a classifier trains for, and what its run leaves in its folder.

    config.json                      what was asked for, the digests of the files
    state-a.h5 state-b.h5            the two newest states to resume from: what is trained, and the optimiser
    log.jsonl                        a line for every step, with scores at the end of each epoch
    curves.png                       drawn from the log
    model.h5 report.json confusion.png    at the end
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_gpt.book.batches import book_batches
from tinygrad_gpt.data.batches import ALL, length_batches
from tinygrad_gpt.data.classification import Split
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.figures.pictures import Curve, draw_curves
from tinygrad_gpt.models.classifier import GPT2Classifier
from tinygrad_gpt.nn.precision_casts import to_float32
from tinygrad_gpt.optim import AdamW, warmup_cosine
from tinygrad_gpt.recipes.classification.classify import predict
from tinygrad_gpt.recipes.classification.config import FinetuneConfig
from tinygrad_gpt.recipes.classification.inputs import NoisyTexts, Texts
from tinygrad_gpt.recipes.classification.layer_rates import LayerRates
from tinygrad_gpt.recipes.classification.objectives import objective_of
from tinygrad_gpt.recipes.classification.weight_average import WeightAverage
from tinygrad_gpt.runs.progress import Preparation, Progress
from tinygrad_gpt.runs.run import Task, part_of
from tinygrad_gpt.train import Batch

__all__ = ["ClassificationTask", "classification_loss", "next_tokens"]


class ClassificationTask(Task):
    """Epochs over the training texts; the order of the texts is a function of (seed, epoch).

    Args:
        config: the run.
        inputs: all texts, with the model.
        labels: (N,) the class of each labelled text, or (N, K) its labels.
        split: their parts; training texts without a label come behind the N.
        prepare: called while the texts go through the frozen blocks.
        targets: (N + M, K) probabilities that teachers give to all texts, M of them without a label; None: the labels.
    """

    def __init__(self, config: FinetuneConfig, inputs: Texts, labels: np.ndarray, split: Split,
                 prepare: Callable[[Preparation], None] = lambda preparation: None,
                 targets: np.ndarray | None = None):
        self.config, self.inputs, self.labels, self.split, self.prepare = config, inputs, labels, split, prepare
        self.targets = labels if targets is None else targets
        self.model = inputs.model
        # What is random cannot be kept.
        self.noisy = NoisyTexts(self.model, inputs.token_lists, config.hide)
        self.fed = self.noisy if config.hide else inputs if config.dropout == 0 else Texts(self.model,
                                                                                           inputs.token_lists)
        self.steps = [batches for epoch in _epochs(inputs.lengths[split.train], config)
                      for batches in _steps(epoch, config.accumulate)]
        self.total = len(self.steps)
        self.layer_rates = LayerRates(self.model, config.layer_decay, config.unfreeze)
        self.average = WeightAverage(self.model.trainable())
        self.averaged_from = self.total * (config.epochs - config.average) // config.epochs  # the first such step
        self.objective = objective_of(labels)
        labelled = split.train[split.train < len(labels)]
        weights = self.objective.weights(labels[labelled]) if config.class_weights == "balanced" else None
        self.criterion = partial(self.objective.loss, weights=weights, on_device=inputs.on_device)
        places = np.linspace(0, len(labelled) - 1, min(len(labelled), len(split.validation))).round()
        self.judged = labelled[places.astype(np.int64)]  # as many training texts as validation texts
        self.prepared = False
        computed = (np.full_like(inputs.lengths, self.model.context) if self.model.reading.filled else inputs.lengths)
        self.seen = np.cumsum([computed[split.train[np.concatenate(batches)]].sum() for batches in self.steps])

    def optimizer(self) -> AdamW:
        even = self.config.layer_decay == 1 and not self.config.unfreeze
        return AdamW(self.model.trainable() if even else self.layer_rates.groups(), self.config.lr,
                     weight_decay=self.config.weight_decay, decayed_axes=2 if self.config.decay == "matrices" else 0)

    def rate(self, step: int) -> float:
        if self.config.schedule == "constant":
            return self.config.lr
        return warmup_cosine(step, self.total, peak=self.config.lr, warmup=self.total // 10)

    def set_rates(self, optimizer: AdamW, step: int) -> None:
        optimizer.lr = self.rate(step)
        if len(optimizer.param_groups) > 1:
            for group, share in zip(optimizer.param_groups, self.layer_rates.shares(step / self.total), strict=True):
                group["lr"] *= share

    def updated(self, done: int) -> None:
        """Average the weights of the last epochs; with the last step the model gets their mean."""
        if done > self.averaged_from:
            self.average.add()
        if self.config.average and done == self.total:
            self.average.adopt()

    def batches(self, step: int) -> list[Batch]:
        self.prepare_texts()  # not when the task is made: this is most of the time of a run of the last block
        self.noisy.stream = (self.config.seed, step)
        return [self._batch(self.split.train[rows]) for rows in self.steps[step]]

    def _batch(self, texts: np.ndarray) -> Batch:
        def counts(rows: slice) -> tuple[int, int]:
            return rows.stop - rows.start, int((self.inputs.lengths[texts[rows]] - 1).sum())

        def loss(rows: slice, of_texts: float, of_tokens: float) -> Tensor:
            return classification_loss(self.fed, self.criterion, self.targets,
                                       self.config.trains_language * of_tokens, texts, of_texts, rows)

        return Batch(len(texts), counts, loss)

    def prepare_texts(self) -> None:
        """Send the training texts through the frozen blocks, once.

        They are first in every process that trains or judges, so that their activations, whose last bits depend on
        the batches in which they are computed, are those of a run that was not interrupted.
        """
        if not self.prepared:
            self.inputs.prepare(self.split.train, lambda done, of: self.prepare(
                Preparation("through the frozen blocks, once for all epochs", done, of, "texts")))
            self.prepared = True

    def rows(self) -> int:
        return max(map(len, self.steps[0]))

    def tokens(self, done: int) -> int:
        return int(self.seen[done - 1])

    def scores(self, done: int) -> dict[str, float]:
        """Figures of both parts at the end of an epoch: on the validation texts, and on as many training texts."""
        if done % (self.total // self.config.epochs) or not len(self.split.validation):
            return {}
        validation = self.report(self.split.validation)
        training = self.report(self.judged)
        return {"training_loss": training.log_loss, "validation_loss": validation.log_loss,
                "training_accuracy": training.accuracy, "validation_accuracy": validation.accuracy,
                "validation_f1": validation.f1}

    def report(self, part: np.ndarray) -> Any:
        """Figures on some texts."""
        names = [str(k) for k in range(self.model.score.weight.shape[1])]
        probabilities = predict(self.inputs, part, probabilities=self.objective.probabilities)
        return self.objective.judge(probabilities, self.labels[part], names)

    def show(self, folder: Path, log: Sequence[Progress]) -> None:
        """Draw curves.png: what is minimised, and the same loss and accuracy of both parts."""
        judged = [entry for entry in log if entry.scores]
        steps = [entry.step for entry in judged]

        def curves(figure: str) -> dict[str, Curve]:
            return {part: (steps, [entry.scores[f"{part}_{figure}"] for entry in judged])
                    for part in ("training", "validation")}

        draw_curves(folder / "curves.png", {
            "minimised, in batches of a step": {"loss": ([p.step for p in log], [p.loss for p in log])},
            "classification loss, nats": curves("loss"),
            "accuracy": curves("accuracy"),
        }, x="step", top=("texts seen", len(self.split.train) * self.config.epochs / self.total))

    def state(self) -> dict[str, np.ndarray]:
        weights = {f"model.{name}": parameter.numpy() for name, parameter in self.model.named_parameters()
                   if parameter.requires_grad}
        return weights | {f"average.{name}": array for name, array in self.average.state().items()}

    def restore(self, tensors: dict[str, np.ndarray]) -> None:
        self.model.adopt_state_dict(self.model.arrays() | part_of(tensors, "model."))
        self.average.restore(part_of(tensors, "average."))


def _epochs(lengths, config) -> list[list[np.ndarray]]:
    """The batches of each epoch, as positions in the training part."""
    if config.order == "book":
        return book_batches(len(lengths), config.batch_size, seed=config.seed, epochs=config.epochs)
    return [length_batches(lengths, config.batch_size, seed=config.seed, epoch=e) for e in range(config.epochs)]


def _steps(batches, accumulate):
    return [batches[i:i + accumulate] for i in range(0, len(batches), accumulate)]


def classification_loss(inputs: Texts, criterion: Callable[[Tensor, np.ndarray], Tensor], labels: np.ndarray,
                        lm_weight: float, rows: np.ndarray, weight: float = 1.0, part: slice = ALL) -> Tensor:
    """``weight`` times the classification loss of some texts, plus ``lm_weight`` times that of their own next tokens.

    Both are means, over texts and over tokens. The criterion gives the first, of scores (B, K) and labels on the host.
    With ``part`` the loss is that of a part of the texts, in tensors that are as long as those of all.
    """
    model, own = inputs.model, labels[rows[part]]
    if not lm_weight:
        return criterion(inputs.logits(rows, part), own) * weight
    assert isinstance(model, GPT2Classifier)  # an encoder has no next tokens: `load_base` refuses the weight
    x, lengths = inputs.batch(rows, part)
    h = model.transformer.ln_f(model.whole_blocks(x, lengths, inputs.start))  # (B, T, C): every position is needed
    following = inputs.on_device(next_tokens(*inputs.ids(rows))[part])
    scores = to_float32(model.score(model.head_drop(model.pooled(h, lengths))))
    loss = criterion(scores, own) * weight
    return loss + model.transformer.head_loss(h, following) * lm_weight


def next_tokens(ids, ends):
    """Targets (B, T): the token after each position, −100 from the last token of a text on."""
    return np.where(np.arange(ids.shape[1]) < ends[:, None] - 1, np.roll(ids, -1, axis=1), -100)
