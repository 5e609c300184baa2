"""Finetune a GPT-2 to classify texts: read, split, encode, train, judge, save."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from tinygrad_gpt import ops
from tinygrad_gpt.data.batches import length_batches, pad
from tinygrad_gpt.data.classification import LabelledTexts, Split, read_labelled, split_by_text
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.files import append_line, write_atomic
from tinygrad_gpt.models.classifier import GPT2Classifier, at_last
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config, seed_dropout
from tinygrad_gpt.optim import AdamW, warmup_cosine
from tinygrad_gpt.recipes.baselines import bag_of_words
from tinygrad_gpt.recipes.classify import encode_texts, model_array, predict
from tinygrad_gpt.recipes.saved import SHIPPED_CLASSIFIER, SavedModel, load_model, model_file, origin, save_model
from tinygrad_gpt.text import Tokenizer
from tinygrad_gpt.train import Progress, Report, judge, train_step
from tinygrad_gpt.train.pictures import draw_confusion, draw_curves

__all__ = ["TRAINED", "FinetuneConfig", "FinetuneResult", "finetune_classifier", "set_trained"]

TRAINED = {"head": 0, "last-block": 1, "last-two-blocks": 2, "all": None}  # how many blocks; the head always


@dataclass(frozen=True)
class FinetuneConfig:
    """Everything a run depends on.

    Args:
        data, text_column, label_column, encoding, skip_malformed: the labelled texts, as in `read_labelled`.
        base: a checkpoint, a shipped model's name, or "random": a small model with its own vocabulary.
        train: what is trained besides the head: "head", "last-block", "last-two-blocks" or "all".
        epochs, batch_size: passes over the training texts, and texts in a step.
        lr, weight_decay, max_norm: AdamW's peak rate (a tenth of the run is warm-up, then cosine to 0), its decay,
            and the global norm to which gradients are clipped.
        dropout: of the model while it is finetuned.
        lm_weight: weight of the language-model loss on the training texts, added to the classification loss
            (Radford et al. 2018, section 3.2).
        seed: of the head's initial values, the order of the texts and the dropout masks.
        split_seed: of the division into 70 % training, 10 % validation and 20 % test texts.
        float16: store the weights in half precision.
    """

    data: str
    text_column: str | None = None
    label_column: str | None = None
    encoding: str = "utf-8"
    skip_malformed: bool = False
    base: str = SHIPPED_CLASSIFIER
    train: str = "all"
    epochs: int = 6
    batch_size: int = 16
    lr: float = 5e-4
    weight_decay: float = 0.1
    max_norm: float = 1.0
    dropout: float = 0.2
    lm_weight: float = 1.0
    seed: int = 123
    split_seed: int = 123
    float16: bool = False

    def __post_init__(self):
        if self.train not in TRAINED:
            raise UsageError(f"train is {self.train!r}; choose one of {', '.join(TRAINED)}")


@dataclass(frozen=True)
class FinetuneResult:
    """The finished run.

    Args:
        saved: the model.
        counts: one line that reconciles the rows of the data file, the split and what was left out.
        validation, test: figures on the two held-back parts.
        baseline: figures of a bag of words on the test part, None without scikit-learn.
        truncated: texts of the file whose end was not read.
    """

    saved: SavedModel
    counts: str
    validation: Report
    test: Report
    baseline: Report | None
    truncated: int


def finetune_classifier(config: FinetuneConfig, out: str | Path,
                        report: Callable[[Progress], None] = lambda progress: None) -> FinetuneResult:
    """Run the recipe; writes log.jsonl, model.h5, report.json, curves.png and confusion.png into ``out``.

    Args:
        config: the run. Same config, machine and thread count: the same result, bit for bit.
        out: a folder, made if absent; a finished run in it is not overwritten.
        report: called after each step; the last step of an epoch carries the validation scores.

    Raises:
        DataError, UsageError, CheckpointError, NonFiniteError: one line that says what to do.
    """
    out = Path(out)
    if (out / "model.h5").exists():
        raise UsageError(f"cannot start ({out}): a finished run is there; choose another folder")
    data = read_labelled(config.data, config.text_column, config.label_column, encoding=config.encoding,
                         skip_malformed=config.skip_malformed)
    split = split_by_text(data, seed=config.split_seed)
    base, tokenizer = _base(config, [data.texts[i] for i in split.train])
    model = GPT2Classifier(base, len(data.classes), seed=config.seed)
    set_trained(model, config.train)
    tokens, truncated = encode_texts(tokenizer, data.texts, base.config.n_ctx)
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "log.jsonl", b"")  # an interrupted run may have left one
    log = []
    for progress in _train(model, tokens, data.labels, split, config):
        log.append(progress)
        append_line(out / "log.jsonl", json.dumps(asdict(progress)))
        report(progress)
    if config.float16:
        model.load_state_dict({name: array.astype(np.float16) for name, array in model.state_dict().items()})
    validation, test = (judge(predict(model, [tokens[i] for i in part]), data.labels[part], data.classes)
                        for part in (split.validation, split.test))
    baseline = bag_of_words(data, split)
    files = [config.data] if config.base == "random" else [config.data, str(model_file(config.base))]
    provenance = origin("finetune classifier", config, files) | {
        "base_vocabulary": tokenizer.digest, "test_accuracy": test.accuracy, "test_f1": test.f1}
    saved = SavedModel(model, tokenizer, tuple(data.classes), provenance)
    result = FinetuneResult(saved, _counts(data, split), validation, test, baseline, truncated)
    _write(out, result, log)
    save_model(out / "model.h5", saved, np.float16 if config.float16 else np.float32)
    return result


def _base(config: FinetuneConfig, train_texts: list[str]) -> tuple[GPT2, Tokenizer]:
    """The language model to start from, with the run's dropout, and its vocabulary."""
    if config.base == "random":
        tokenizer = Tokenizer.train(train_texts, 2048)
        return GPT2(GPT2Config(tokenizer.vocab_size, n_ctx=256, n_embd=192, n_layer=4, n_head=4,
                               dropout=config.dropout), seed=config.seed), tokenizer
    loaded = load_model(config.base)
    base = GPT2(replace(loaded.transformer.config, dropout=config.dropout))
    base.load_state_dict(loaded.transformer.state_dict())
    return base, loaded.tokenizer


def set_trained(model: GPT2Classifier, train: str) -> None:
    """Freeze all but the head, the final norm and the last blocks; see `TRAINED`."""
    blocks = TRAINED[train]
    model.freeze(blocks is not None)
    if blocks is not None:
        model.score.freeze(False)
        if blocks:
            model.transformer.ln_f.freeze(False)
            for block in model.transformer.h[-blocks:]:
                block.freeze(False)


def _train(model, tokens, labels, split, config) -> Iterator[Progress]:
    """Train, yielding after each step; the order of the texts is a function of (seed, epoch)."""
    optimizer = AdamW(model.trainable(), config.lr, weight_decay=config.weight_decay)
    lengths = [len(tokens[i]) for i in split.train]
    epochs = [length_batches(lengths, config.batch_size, seed=config.seed, epoch=e) for e in range(config.epochs)]
    total = sum(len(batches) for batches in epochs)
    lm_weight = config.lm_weight if config.train != "head" else 0.0  # nothing that is trained would change it
    started, seen, step = time.monotonic(), 0, 0
    for batches in epochs:
        for number, positions in enumerate(batches, start=1):
            rows = split.train[positions]
            ids, ends = pad([tokens[i] for i in rows], pad_id=0)
            seed_dropout(model.train(), config.seed, step)
            optimizer.lr = warmup_cosine(step, total, peak=config.lr, warmup=total // 10)
            loss, norm = train_step([lambda: _loss(model, ids, ends, labels[rows], lm_weight)],  # noqa: B023
                                    optimizer, config.max_norm, f"step {step + 1}")
            step, seen = step + 1, seen + int(ends.sum())
            scores = _scores(model, tokens, labels, split.validation) if number == len(batches) else {}
            yield Progress(step, total, loss, norm, optimizer.lr, seen, time.monotonic() - started, scores)


def _loss(model, ids, ends, labels, lm_weight):
    """Classification loss, plus ``lm_weight`` times the loss of predicting each text's own next tokens.

    ids (B, T), ends (B), labels (B) are host arrays.
    """
    ids, ends, labels, following = (model_array(model, array) for array in (ids, ends, labels, next_tokens(ids, ends)))
    h = model.transformer.ln_f(model.transformer.hidden(ids))  # (B, T, C)
    loss = ops.cross_entropy(model.score(at_last(h, ends)), labels)
    if lm_weight:
        loss = loss + ops.cross_entropy(model.transformer.head(h), following) * lm_weight
    return loss


def next_tokens(ids, ends):
    """Targets (B, T): the token after each position, −100 from the last token of a text on."""
    return np.where(np.arange(ids.shape[1]) < ends[:, None] - 1, np.roll(ids, -1, axis=1), -100)


def _scores(model, tokens, labels, part):
    probabilities = predict(model, [tokens[i] for i in part])
    figures = judge(probabilities, labels[part], [str(k) for k in range(probabilities.shape[1])])
    return {"validation_loss": figures.log_loss, "validation_accuracy": figures.accuracy, "validation_f1": figures.f1}


def _counts(data: LabelledTexts, split: Split) -> str:
    return (f"{data.counts}; {split.duplicates:,} duplicates and {split.conflicts:,} texts with two labels left out; "
            f"{len(split.train):,} training, {len(split.validation):,} validation, {len(split.test):,} test texts")


def _write(out: Path, result: FinetuneResult, log: list[Progress]) -> None:
    names = result.saved.labels
    figures = {"counts": result.counts, "classes": names, "truncated": result.truncated,
               "validation": result.validation.to_dict(), "test": result.test.to_dict(),
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
