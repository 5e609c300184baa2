"""Judge a saved classifier on labelled texts."""

from dataclasses import asdict, dataclass

import numpy as np

from tinygrad_gpt.book.splits import divide
from tinygrad_gpt.data.classification import LabelledTexts
from tinygrad_gpt.errors import DataError, UsageError
from tinygrad_gpt.figures.classification import Report, judge
from tinygrad_gpt.files import sha256_of
from tinygrad_gpt.recipes.classification.classify import encode_texts, predict
from tinygrad_gpt.recipes.classification.inputs import Texts
from tinygrad_gpt.runs.saved_model import SavedModel

__all__ = ["PARTS", "Evaluation", "Mistake", "evaluate", "reads_quotes"]

PARTS = ("all", "train", "validation", "test")


@dataclass(frozen=True)
class Mistake:
    """A wrong answer: the text, its label, and what the model said with which probability."""

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
    """

    counts: str
    part: str
    truncated: int
    report: Report
    mistakes: list[Mistake]
    unsure: int = 0
    sure_accuracy: float | None = None

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
    labels = np.array([saved.labels.index(name) for name in data.classes])[data.labels[rows]]
    tokens, truncated = encode_texts(saved.tokenizer, texts, model.context, model.reading.start)
    probabilities = predict(Texts(model, tokens))
    sure = probabilities.max(axis=1) >= saved.unsure_below
    right = (probabilities.argmax(axis=1) == labels)[sure]
    return Evaluation(counts, part, truncated, judge(probabilities, labels, saved.labels),
                      _mistakes(texts, labels, probabilities, saved.labels), unsure=int((~sure).sum()),
                      sure_accuracy=float(right.mean()) if sure.any() else None)


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
    files = saved.provenance.get("sha256", {})
    if files and sha256_of(data.file) not in files.values():
        raise UsageError(f"no {part} part ({data.file}): the model was finetuned on another file, {_listed([*files])}; "
                         "give that one, or evaluate all rows")
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


def _listed(names) -> str:
    """Names for a message: the first ten."""
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(repr(name) for name in names[:10]) + more
