"""Judge a saved classifier on labelled texts."""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_gpt.book.splits import divide
from tinygrad_gpt.data.classification import LabelledTexts
from tinygrad_gpt.errors import DataError, UsageError
from tinygrad_gpt.figures.classification import Report
from tinygrad_gpt.files import sha256_of
from tinygrad_gpt.recipes.classification.classify import encode_texts, predict
from tinygrad_gpt.recipes.classification.inputs import Texts
from tinygrad_gpt.recipes.classification.objectives import ONE_CLASS, Objective, SeveralLabels
from tinygrad_gpt.recipes.classification.parts import digest_of, role_of
from tinygrad_gpt.runs.saved_model import SavedModel

__all__ = ["PARTS", "Evaluation", "Mistake", "evaluate", "label_options", "reads_quotes"]

PARTS = ("all", "train", "validation", "test")


@dataclass(frozen=True)
class Mistake:
    """A wrong answer: the text, its label or labels, and what the model said with which probability."""

    text: str
    label: str
    predicted: str
    probability: float


@dataclass(frozen=True)
class Evaluation:
    """How a model did on one part of a data file.

    Args:
        counts: one line that reconciles the rows of the file with the texts that were judged.
        part: one of `PARTS`.
        truncated: judged texts whose end was not read.
        report: the figures.
        mistakes: every wrong answer, the most confident first.
        unsure: answers below the model's ``unsure_below``; they count as all others in the report.
        sure_accuracy: share of right answers among the others; None if there are none.
        caution: what the model has seen of the judged texts, in one line; "" if nothing is known.
    """

    counts: str
    part: str
    truncated: int
    report: Report
    mistakes: list[Mistake]
    unsure: int = 0
    sure_accuracy: float | None = None
    caution: str = ""

    def to_dict(self) -> dict:
        """As plain JSON values."""
        return asdict(self)


def evaluate(saved: SavedModel, data: LabelledTexts, part: str = "all") -> Evaluation:
    """Classify labelled texts and compare the answers with the labels.

    Args:
        saved: a classifier.
        data: texts; every label must be one of the model's.
        part: "all" rows, or the "train", "validation" or "test" part of the split with the model's own seed.

    Raises:
        DataError: "unknown labels (mail.csv): 'ad', 'scam' are not among the model's (ham, spam); …".
        UsageError: a language model, or a part of a file that the model was not finetuned on.
    """
    model = saved.classifier
    if unknown := [name for name in data.classes if name not in saved.labels]:
        raise DataError(f"unknown labels ({data.file}): {_listed(unknown)} are not among the model's "
                        f"({_listed(saved.labels)}); rename them, or finetune on this file")
    rows, counts = _rows(saved, data, part)
    texts = [data.texts[i] for i in rows]
    objective = _objective(saved, data)
    labels = data.in_order(saved.labels).labels[rows]
    tokens, truncated = encode_texts(saved.tokenizer, texts, model.context, model.reading.start)
    probabilities = predict(Texts(model, tokens), probabilities=objective.probabilities)
    find = _mistakes if objective is ONE_CLASS else partial(_wrong_labels, thresholds=saved.thresholds)
    sure, right = np.ones(len(texts), bool), None
    if objective is ONE_CLASS:
        sure = probabilities.max(axis=1) >= saved.unsure_below
        right = float((probabilities.argmax(axis=1) == labels)[sure].mean()) if sure.any() else None
    return Evaluation(counts, part, truncated, objective.judge(probabilities, labels, saved.labels),
                      find(texts, labels, probabilities, saved.labels), unsure=int((~sure).sum()), sure_accuracy=right,
                      caution=_caution(saved, data) if part == "all" else "")


def _caution(saved: SavedModel, data: LabelledTexts) -> str:
    """What is known of a file of which all rows are judged."""
    known = saved.provenance.get("sha256") and Path(data.file).is_file()
    role = role_of(saved.provenance, sha256_of(data.file)) if known else None
    if role in (None, "test"):
        return ""
    divided = role == "data" and not saved.provenance.get("config", {}).get("test")
    return "new texts will fare worse: the model was trained on texts of this file" + (
        "; its test part has others" if divided else "")


def label_options(saved: SavedModel) -> dict[str, Any]:
    """How the file that a model with several labels was finetuned on names them: arguments of `read_labelled`."""
    config = saved.provenance.get("config", {}) if saved.thresholds else {}
    columns, separator = config.get("label_column"), config.get("label_separator")
    if isinstance(columns, list) and all(isinstance(name, str) for name in columns):
        return {"label_column": tuple(columns)}
    return {"label_column": columns, "label_separator": separator} if isinstance(separator, str) else {}


def _objective(saved: SavedModel, data: LabelledTexts) -> Objective:
    if (data.labels.ndim == 1) != (not saved.thresholds):
        wanted = "any number of labels; give --label-separator, or several times --label-column" if saved.thresholds \
            else "one class; give one --label-column"
        raise DataError(f"labels ({data.file}): with this model a text has {wanted}")
    return SeveralLabels(saved.thresholds) if saved.thresholds else ONE_CLASS


def reads_quotes(saved: SavedModel, part: str) -> bool:
    """Whether the file must be read with quotes, to find the rows of a part as the book cuts them."""
    return part != "all" and _split_of(saved) != "by-text"


def _rows(saved: SavedModel, data: LabelledTexts, part: str) -> tuple[np.ndarray, str]:
    """Which rows belong to the part, and the line that reconciles them with the file."""
    if part == "all":
        return np.arange(len(data.texts)), f"{data.counts}; all {len(data.texts):,} judged"
    config = saved.provenance.get("config", {})
    if config.get("test"):
        raise UsageError(f"no {part} part: the model was finetuned with a test file of its own, {config['test']!r}; "
                         "evaluate all rows of that")
    seed = config.get("split_seed")
    if seed is None:
        raise UsageError(f"no {part} part: the model does not say how its data were split; evaluate all rows")
    files, known = saved.provenance.get("sha256", {}), digest_of(saved.provenance, "data")
    if files and sha256_of(data.file) not in ([known] if known else files.values()):
        others = _listed([config["data"]] if known else [*files])
        raise UsageError(f"no {part} part ({data.file}): the model was finetuned on another file, {others}, and only "
                         "that was divided; give it, or evaluate all rows")
    split = divide(data, _split_of(saved), seed)
    rows = {"train": split.train, "validation": split.validation, "test": split.test}[part]
    return rows, f"{data.counts}; {split.left_out}; {len(rows):,} texts of the {part} part judged"


def _split_of(saved: SavedModel) -> str:
    return saved.provenance.get("config", {}).get("split", "by-text")


def _mistakes(texts, labels, probabilities, names) -> list[Mistake]:
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]
    return [Mistake(texts[i], names[labels[i]], names[predicted[i]], float(confidence[i])) for i in wrong]


def _wrong_labels(texts, labels, probabilities, names, thresholds) -> list[Mistake]:
    """Texts with a missing or a superfluous label, those with the largest error in a probability first."""
    given = probabilities >= np.array(thresholds)
    distances = np.where(given != (labels > 0.5), abs(probabilities - labels), 0.0)  # (N, K)
    wrong = np.flatnonzero(distances.any(axis=1))
    wrong = wrong[np.argsort(-distances[wrong].max(axis=1), kind="stable")]

    def named(row):
        return "; ".join(name for name, has in zip(names, row, strict=True) if has)

    return [Mistake(texts[i], named(labels[i] > 0.5), named(given[i]), float(distances[i].max())) for i in wrong]


def _listed(names) -> str:
    """Names for a message: the first ten."""
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(repr(name) for name in names[:10]) + more
