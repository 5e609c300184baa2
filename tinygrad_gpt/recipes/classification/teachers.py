"""What a classifier learns from others: the probabilities that they give to its training texts, and to more texts.

A small model learns more from the probabilities of a larger one than from labels alone, and most from those of texts
that neither has seen. Such texts come from a file, or are made of pieces of the training texts.

    training texts with a label     half the label, half the mean probabilities of the teachers
    texts without a label           the mean probabilities of the teachers

Source: Hinton et al. 2015, arXiv:1503.02531; Tang et al. 2019, arXiv:1903.12136.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np

from tinygrad_gpt.backend.precision import precision
from tinygrad_gpt.data.classification import LabelledTexts, Split, normalise
from tinygrad_gpt.data.recombined import recombined
from tinygrad_gpt.errors import CheckpointError, UsageError
from tinygrad_gpt.files import write_atomic
from tinygrad_gpt.parallel.group import current_group
from tinygrad_gpt.recipes.classification.baselines import answers_of_bag_of_words
from tinygrad_gpt.recipes.classification.classify import encode_texts, predict
from tinygrad_gpt.recipes.classification.config import BAG_OF_WORDS, FinetuneConfig
from tinygrad_gpt.recipes.classification.inputs import Texts
from tinygrad_gpt.recipes.classification.objectives import objective_of
from tinygrad_gpt.recipes.classification.parts import read_unlabelled
from tinygrad_gpt.runs.folder import holds_run
from tinygrad_gpt.runs.progress import Preparation
from tinygrad_gpt.runs.saved_model import SavedModel, load_model

__all__ = ["FILE", "check_teachers", "targets_of", "texts_without_labels", "with_unlabelled"]

FILE = "teachers.npy"  # in a run's folder: the targets, (N + M, K) float32
TOGETHER = 1024  # texts that a teacher answers between two reports


def texts_without_labels(config: FinetuneConfig, data: LabelledTexts, split: Split) -> list[str]:
    """What is learned of the teachers alone: the unlabelled file, and texts made of pieces of the training texts.

    None is a validation or test text.
    """
    if not config.teachers:
        return []
    made = recombined([data.texts[i] for i in split.train], config.recombined, config.seed)
    judged = {normalise(data.texts[i]) for i in (*split.validation, *split.test)}
    return read_unlabelled(config, data, split) + [text for text in made if normalise(text) not in judged]


def with_unlabelled(split: Split, labelled: int, unlabelled: int) -> Split:
    """The parts, where the texts without labels, which come behind all others, are trained on as well."""
    return replace(split, train=np.concatenate([split.train, np.arange(labelled, labelled + unlabelled)]))


def targets_of(config: FinetuneConfig, data: LabelledTexts, split: Split, unlabelled: Sequence[str],
               folder: Path, report: Callable[[Preparation], None]) -> np.ndarray:
    """Targets (N + M, K) float32 of N texts of the data and M unlabelled ones; those that are not learned from are 0.

    They are computed before the run begins and kept in its folder.

    Args:
        report: called while a teacher answers.

    Raises:
        UsageError: "teacher 'runs/mail': its classes are …"; it is no classifier; scikit-learn is missing.
        CheckpointError: a teacher cannot be read; "cannot resume (runs/mine/teachers.npy): …".
    """
    shape = len(data.texts) + len(unlabelled), len(data.classes)
    if holds_run(folder):
        return _kept(folder / FILE, shape)
    texts = [data.texts[i] for i in split.train] + list(unlabelled)
    answers = [_answers(teacher, data, split, texts, report) for teacher in config.teachers]
    mean = np.stack(answers).mean(axis=0, dtype=np.float64)
    labels = data.labels[split.train]
    one_hot = np.eye(len(data.classes))[labels] if labels.ndim == 1 else labels
    targets = np.zeros(shape, np.float32)
    targets[split.train] = (mean[:len(labels)] + one_hot) / 2
    targets[len(data.texts):] = mean[len(labels):]
    if current_group().rank == 0:
        content = BytesIO()
        np.save(content, targets)
        write_atomic(folder / FILE, content.getvalue())
    return targets


def _kept(file: Path, shape: tuple[int, int]) -> np.ndarray:
    try:
        targets = np.load(file)
        if targets.shape != shape:
            raise ValueError(f"{targets.shape} is not {shape}")
    except (OSError, ValueError, EOFError) as error:
        raise CheckpointError(f"cannot resume ({file}): the file is missing or damaged; start a new run in another "
                              "folder") from error
    return targets


def _answers(teacher: str, data: LabelledTexts, split: Split, texts: Sequence[str],
             report: Callable[[Preparation], None]) -> np.ndarray:
    """Probabilities (N, K) of texts, in the order of the data's classes."""
    if teacher == BAG_OF_WORDS:
        report(Preparation("asking a bag of words"))
        train = [data.texts[i] for i in split.train]
        found = answers_of_bag_of_words(train, data.labels[split.train], texts)
        if found is None:
            raise UsageError(f"teacher {BAG_OF_WORDS!r}: scikit-learn is not installed, or the training texts have no "
                             "words; install it (pip install scikit-learn), or leave this teacher out")
        return found
    saved = _teacher(teacher, data)
    model = saved.classifier
    columns = [saved.labels.index(name) for name in data.classes]
    tokens, _ = encode_texts(saved.tokenizer, texts, model.context, model.reading.start)
    inputs, parts = Texts(model, tokens), []
    with precision("float32"):
        for first in range(0, len(texts), TOGETHER):
            rows = np.arange(first, min(first + TOGETHER, len(texts)))
            parts.append(predict(inputs, rows, probabilities=objective_of(data.labels).probabilities)[:, columns])
            report(Preparation(f"asking {teacher}", int(rows[-1]) + 1, len(texts), "texts"))
    return np.concatenate(parts)


def check_teachers(config: FinetuneConfig, data: LabelledTexts) -> None:
    """Refuse teachers that cannot be read, or do not fit the data, before anything is written.

    Raises:
        UsageError, CheckpointError: as `targets_of`.
    """
    for teacher in config.teachers:
        if teacher != BAG_OF_WORDS:
            _teacher(teacher, data)


def _teacher(teacher: str, data: LabelledTexts) -> SavedModel:
    saved, several, file = load_model(teacher), data.labels.ndim == 2, Path(data.file).name
    if sorted(saved.labels) != sorted(data.classes):
        raise UsageError(f"teacher {teacher!r}: its classes are {', '.join(saved.labels) or 'none'}; those of {file} "
                         f"are {', '.join(data.classes)}; give a classifier of the same classes")
    if bool(saved.thresholds) != several:
        counts = ("one label", "any number of labels")
        raise UsageError(f"teacher {teacher!r}: it gives a text {counts[not several]}, {file} {counts[several]}; give "
                         "one that was trained on such a file")
    return saved
