"""Finetune a GPT-2 to classify texts: read, split, encode, train, judge, save."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from tinygrad_gpt import ops
from tinygrad_gpt.backend import default_backend
from tinygrad_gpt.backend.precision import precision
from tinygrad_gpt.book.batches import book_batches
from tinygrad_gpt.book.splits import divide
from tinygrad_gpt.data.batches import length_batches
from tinygrad_gpt.data.classification import LabelledTexts, Split, read_labelled, split_for_test
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.figures.classification import Report, judge
from tinygrad_gpt.figures.pictures import draw_confusion, draw_curves
from tinygrad_gpt.files import run_lock, write_atomic
from tinygrad_gpt.models.classifier import GPT2Classifier
from tinygrad_gpt.models.lora import merge_lora
from tinygrad_gpt.nn.precision_casts import to_float32
from tinygrad_gpt.optim import AdamW, warmup_cosine
from tinygrad_gpt.recipes.classification.baselines import bag_of_words
from tinygrad_gpt.recipes.classification.classify import predict
from tinygrad_gpt.recipes.classification.config import TRAINED, FinetuneConfig
from tinygrad_gpt.recipes.classification.inputs import Texts, inputs_of, memory_kept
from tinygrad_gpt.recipes.classification.starting_model import base_has_seen_test, load_base, with_head
from tinygrad_gpt.runs.folder import Log, refuse_second_run
from tinygrad_gpt.runs.progress import Preparation, Progress
from tinygrad_gpt.runs.run import Task, loss_scale_of, steps
from tinygrad_gpt.runs.saved_model import SavedModel, model_file, origin, save_model
from tinygrad_gpt.text import Tokenizer
from tinygrad_gpt.train import relative_counts
from tinygrad_gpt.train.memory import Plan, check_memory, memory_estimate

__all__ = ["FinetuneConfig", "FinetuneResult", "finetune_classifier", "memory_needed", "train_on_texts"]


@dataclass(frozen=True)
class FinetuneResult:
    """The finished run.

    Args:
        saved: the model.
        counts: one line that reconciles the rows of the data file, the split and what was left out.
        trained: how many numbers were trained.
        training, validation, test: figures on the three parts.
        baseline: figures of a bag of words on the test part, None without scikit-learn.
        truncated: texts of the file whose end was not read.
        caution: why new texts will fare worse than the test texts, in one line; empty if nothing speaks for it.
    """

    saved: SavedModel
    counts: str
    trained: int
    training: Report
    validation: Report
    test: Report
    baseline: Report | None
    truncated: int
    caution: str


def finetune_classifier(config: FinetuneConfig, out: str | Path,
                        report: Callable[[Progress], None] = lambda progress: None,
                        prepare: Callable[[Preparation], None] = lambda preparation: None) -> FinetuneResult:
    """Run the recipe; writes log.jsonl, model.h5, report.json, curves.png and confusion.png.

    Args:
        config: the run. Same config, machine and thread count: the same result, bit for bit.
        out: a folder, made if absent; a finished run in it is not overwritten.
        report: called after each step; the last step of an epoch carries the validation scores.
        prepare: called while the texts go through the frozen blocks.

    Raises:
        DataError, UsageError, CheckpointError, NonFiniteError, ResourceError: one line that says what to do.
    """
    out = Path(out)
    refuse_second_run(out)
    data, split = _read(config)
    base, tokenizer = load_base(config, [data.texts[i] for i in split.train])
    model, tokens, truncated = with_head(base, tokenizer, data.texts, split.train, len(data.classes), config)
    trained = sum(parameter.size for parameter in model.trainable())
    check_memory(memory_needed(model, tokens, config, split), "train fewer blocks")
    inputs = inputs_of(model, tokens, split.rows)
    out.mkdir(parents=True, exist_ok=True)
    with run_lock(out):
        log = Log(out / "log.jsonl")  # an interrupted run may have left one, which starts again
        with precision(config.precision):
            task = ClassificationTask(config, inputs, data.labels, split, prepare)
            for progress in steps(task, task.optimizer(), loss_scale_of(task)):
                log.append(progress)
                report(progress)
        inputs = _as_saved(inputs, config)
        training, validation, test = (judge(predict(inputs, part), data.labels[part], data.classes)
                                      for part in (split.train, split.validation, split.test))
        saved = SavedModel(model, tokenizer, tuple(data.classes), _provenance(config, tokenizer, test))
        result = FinetuneResult(saved, f"{data.counts}; {split}", trained, training, validation, test,
                                bag_of_words(data, split), truncated, _caution(config, split))
        _write(out, result, log.entries)
        save_model(out / "model.h5", saved, np.float16 if config.float16 else np.float32)
        return result


def _read(config: FinetuneConfig) -> tuple[LabelledTexts, Split]:
    """All texts of the run, and their parts."""
    read = partial(read_labelled, text_column=config.text_column, label_column=config.label_column,
                   encoding=config.encoding, skip_malformed=config.skip_malformed, quotes=config.split != "by-text")
    data = read(config.data)
    if config.test is None:
        return data, divide(data, config.split, config.split_seed)
    return split_for_test(data, read(config.test), seed=config.split_seed)


def train_on_texts(texts: Sequence[str], labels: np.ndarray, config: FinetuneConfig,
                   report: Callable[[Progress], None] = lambda progress: None) -> tuple[GPT2Classifier, Tokenizer]:
    """Train on all of some texts; nothing is read but the base, nothing is written.

    Args:
        texts: N of them.
        labels: (N,) integers, the class of each from 0 on.
        config: the run; what it says of data, split and storage does not count.
        report: called after each step.

    Returns:
        The model, LoRA's updates merged, and its vocabulary.

    Raises:
        UsageError, CheckpointError, NonFiniteError, ResourceError: one line that says what to do.
    """
    everything = Split(np.arange(len(texts)), np.arange(0), np.arange(0))
    base, tokenizer = load_base(config, list(texts))
    model, tokens, _ = with_head(base, tokenizer, list(texts), everything.train, int(labels.max()) + 1, config)
    check_memory(memory_needed(model, tokens, config, everything), "train fewer blocks")
    with precision(config.precision):
        task = ClassificationTask(config, inputs_of(model, tokens, everything.rows), labels, everything)
        for progress in steps(task, task.optimizer(), loss_scale_of(task)):
            report(progress)
    if config.train == "lora":
        merge_lora(model)
    return model.eval(), tokenizer


def memory_needed(model: GPT2Classifier, tokens: Sequence[list[int]], config: FinetuneConfig, split: Split) -> int:
    """Bytes of the weights, of a step on the longest texts, and of what the frozen blocks make of all texts.

    Args:
        tokens: ids of all texts.
        split: their parts.
    """
    sizes, trained = model.transformer.config, sum(parameter.size for parameter in model.trainable())
    longest = model.context if model.reading.filled else max(len(tokens[row]) for row in split.train)
    kept = memory_kept(model, tokens, split.rows) if default_backend().on_host else 0
    plan = Plan(blocks=TRAINED.get(config.train, sizes.n_layer), trained=trained,
                predicted=None if config.trains_language else 0, accumulate=config.accumulate > 1, saves_state=False,
                precision=config.precision)
    return kept + memory_estimate(sizes, min(config.batch_size, len(split.train)), longest, plan)


def _as_saved(inputs: Texts, config: FinetuneConfig) -> Texts:
    """The texts for the model as it will be read back: LoRA's updates merged, half precision rounded, in float32."""
    model = inputs.model
    if config.train == "lora":
        merge_lora(model)
    if config.float16:
        model.load_state_dict({name: array.astype(np.float16) for name, array in model.state_dict().items()})
    same = config.train != "lora" and not config.float16 and config.precision == "float32"
    return inputs if same else Texts(model, inputs.token_lists)


def _caution(config: FinetuneConfig, split: Split) -> str:
    """What is known to have been seen of the test texts, in one line."""
    seen = []
    if split.leaked:
        seen.append(f"{split.leaked:,} of the {len(split.test):,} test texts are in the training part as well")
    if base_has_seen_test(config):
        seen.append(f"the base was trained on texts of {Path(config.test or config.data).name} already")
    return f"new texts will fare worse than the test texts: {'; '.join(seen)}" if seen else ""


def _provenance(config, tokenizer, test):
    files = [config.data, *([config.test] if config.test else [])]
    files += [] if config.base == "random" else [str(model_file(config.base))]
    return origin("finetune classifier", config, files) | {
        "base_vocabulary": tokenizer.digest, "test_accuracy": test.accuracy, "test_f1": test.f1}


class ClassificationTask(Task):
    """Epochs over the training texts; the order of the texts is a function of (seed, epoch).

    Args:
        config: the run.
        inputs: all texts, with the model.
        labels: (N,) the class of each text.
        split: their parts.
        prepare: called while the texts go through the frozen blocks.
    """

    def __init__(self, config: FinetuneConfig, inputs: Texts, labels: np.ndarray, split: Split,
                 prepare: Callable[[Preparation], None] = lambda preparation: None):
        self.config, self.inputs, self.labels, self.split, self.prepare = config, inputs, labels, split, prepare
        self.model = inputs.model
        # What is random cannot be kept.
        self.fed = inputs if config.dropout == 0 else Texts(self.model, inputs.token_lists)
        self.steps = [batches for epoch in _epochs(inputs.lengths[split.train], config)
                      for batches in _steps(epoch, config.accumulate)]
        self.total = len(self.steps)
        self.class_weights = _balanced(labels[split.train]) if config.class_weights == "balanced" else None
        computed = (np.full_like(inputs.lengths, self.model.context) if self.model.reading.filled else inputs.lengths)
        self.seen = np.cumsum([computed[split.train[np.concatenate(batches)]].sum() for batches in self.steps])

    def optimizer(self) -> AdamW:
        return AdamW(self.model.trainable(), self.config.lr, weight_decay=self.config.weight_decay,
                     decayed_axes=2 if self.config.decay == "matrices" else 0)

    def rate(self, step: int) -> float:
        if self.config.schedule == "constant":
            return self.config.lr
        return warmup_cosine(step, self.total, peak=self.config.lr, warmup=self.total // 10)

    def losses(self, step: int) -> list[Callable[[], Tensor]]:
        if step == 0:  # not when the task is made: this is most of the time of a run of the last block
            self.fed.prepare(self.split.train, lambda done, of: self.prepare(
                Preparation("through the frozen blocks, once for all epochs", done, of, "texts")))
        batches = [self.split.train[rows] for rows in self.steps[step]]
        texts = relative_counts([len(rows) for rows in batches])
        tokens = relative_counts([int((self.inputs.lengths[rows] - 1).sum()) for rows in batches])
        return [partial(_loss, self.fed, self.labels, self.class_weights, self.config.trains_language * of_tokens, rows,
                        of_texts)
                for rows, of_texts, of_tokens in zip(batches, texts, tokens, strict=True)]

    def tokens(self, done: int) -> int:
        return int(self.seen[done - 1])

    def scores(self, done: int) -> dict[str, float]:
        """Figures on the validation texts at the end of an epoch."""
        last = done % (self.total // self.config.epochs) == 0
        return _scores(self.inputs, self.labels, self.split.validation) if last else {}


def _epochs(lengths, config) -> list[list[np.ndarray]]:
    """The batches of each epoch, as positions in the training part."""
    if config.order == "book":
        return book_batches(len(lengths), config.batch_size, seed=config.seed, epochs=config.epochs)
    return [length_batches(lengths, config.batch_size, seed=config.seed, epoch=e) for e in range(config.epochs)]


def _steps(batches, accumulate):
    return [batches[i:i + accumulate] for i in range(0, len(batches), accumulate)]


def _balanced(labels):
    """(K) float64: N / (K · texts of the class), as scikit-learn has it; their mean over the N texts is 1."""
    counts = np.bincount(labels)
    return len(labels) / (len(counts) * counts)


def _loss(inputs: Texts, labels, class_weights, lm_weight: float, rows: np.ndarray, weight: float = 1.0) -> Tensor:
    """``weight`` times the classification loss of some texts, plus ``lm_weight`` times that of their own next tokens.

    Both are means, over texts and over tokens. The class weights (K), on the host, multiply the loss of each text;
    their sum in the batch does not divide it, or a text alone in a batch would always count 1.
    """
    model, targets = inputs.model, inputs.on_device(labels[rows])
    if class_weights is not None:
        weight *= float(class_weights[labels[rows]].mean())  # cross_entropy divides by it
        class_weights = inputs.on_device(class_weights.astype(str(model.score.weight.dtype)))
    if not lm_weight:
        return ops.cross_entropy(inputs.logits(rows), targets, class_weights) * weight
    x, lengths = inputs.batch(rows)
    h = model.transformer.ln_f(model.whole_blocks(x, lengths, inputs.start))  # (B, T, C): every position is needed
    following = inputs.on_device(next_tokens(*inputs.ids(rows)))
    loss = ops.cross_entropy(to_float32(model.score(model.pooled(h, lengths))), targets, class_weights) * weight
    return loss + model.transformer.head_loss(h, following) * lm_weight


def next_tokens(ids, ends):
    """Targets (B, T): the token after each position, −100 from the last token of a text on."""
    return np.where(np.arange(ids.shape[1]) < ends[:, None] - 1, np.roll(ids, -1, axis=1), -100)


def _scores(inputs, labels, part):
    if not len(part):
        return {}
    probabilities = predict(inputs, part)
    figures = judge(probabilities, labels[part], [str(k) for k in range(probabilities.shape[1])])
    return {"validation_loss": figures.log_loss, "validation_accuracy": figures.accuracy, "validation_f1": figures.f1}


def _write(out: Path, result: FinetuneResult, log: list[Progress]) -> None:
    names = result.saved.labels
    figures = {"counts": result.counts, "caution": result.caution, "classes": names,
               "truncated": result.truncated, "trained": result.trained,
               "training": result.training.to_dict(), "validation": result.validation.to_dict(),
               "test": result.test.to_dict(),
               "bag_of_words": result.baseline.to_dict() if result.baseline else None,
               "provenance": result.saved.provenance}
    write_atomic(out / "report.json", json.dumps(figures, indent=1).encode())
    judged = [progress for progress in log if progress.scores]
    steps = [progress.step for progress in judged]
    draw_curves(out / "curves.png", {
        "training loss": {"all that is minimised": ([p.step for p in log], [p.loss for p in log])},
        "validation loss": {"classification": (steps, [p.scores["validation_loss"] for p in judged])},
        "validation": {"accuracy": (steps, [p.scores["validation_accuracy"] for p in judged]),
                       "F1": (steps, [p.scores["validation_f1"] for p in judged])},
    }, x="step")
    draw_confusion(out / "confusion.png", result.test.confusion, names)
