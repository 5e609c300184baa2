"""The ways to divide labelled texts: our own, and those of the book, to compare figures on the very same texts.

The two for spam are not meant for new work: they rebalance the test texts, and some of these are in the training part
as well.

Source: S. Raschka, *Build a Large Language Model (From Scratch)*, chapter 6, and its repository's folder
ch06/02_bonus_additional-experiments and ch06/03_bonus_imdb-classification.
"""

import numpy as np

from tinygrad_gpt.data.classification import LabelledTexts, Split, split_by_text
from tinygrad_gpt.errors import DataError

__all__ = ["book_experiments_split", "book_imdb_split", "book_split", "divide"]

SEED = 123


def divide(data: LabelledTexts, split: str, seed: int) -> Split:
    """One of the ways in `book.SPLITS`; the seed is that of the split by text, the others have their own."""
    if split == "by-text":
        return split_by_text(data, seed=seed)
    return {"book": book_split, "book-experiments": book_experiments_split, "book-imdb": book_imdb_split}[split](data)


def book_split(data: LabelledTexts) -> Split:
    """The split of chapter 6: the larger class undersampled to the smaller, shuffled, cut at 70 % and 80 %.

    Args:
        data: texts of two classes; the book reads its file with quotes (`read_labelled(…, quotes=True)`).

    Raises:
        DataError: "3 classes (mail.csv): the book's split is for two; …".
    """
    return _cut(_shuffled(_balanced(data)), data)


def book_experiments_split(data: LabelledTexts) -> Split:
    """The split of the repository's experiments: they shuffle once more, so other texts are tested."""
    return _cut(_shuffled(_shuffled(_balanced(data))), data)


def book_imdb_split(data: LabelledTexts) -> Split:
    """The split of the film reviews: shuffled, cut at 70 % and 80 %; nothing is left out.

    The book's file has the reviews in the order of its folders, so the same rows are other texts.
    """
    return _cut(_shuffled(np.arange(len(data.texts))), data)


def _balanced(data: LabelledTexts) -> np.ndarray:
    """Rows: a sample of the larger class, as many as the smaller has, then all of the smaller."""
    if len(data.classes) != 2:
        raise DataError(f"{len(data.classes)} classes ({data.file}): the book's split is for two; "
                        "use the split by text")
    smaller, larger = sorted((np.flatnonzero(data.labels == k) for k in (0, 1)), key=len)
    sampled = np.random.RandomState(SEED).choice(len(larger), len(smaller), replace=False)
    return np.concatenate([larger[sampled], smaller])


def _shuffled(rows: np.ndarray) -> np.ndarray:
    """What pandas' `df.sample(frac=1, random_state=123)` gives."""
    return rows[np.random.RandomState(SEED).choice(len(rows), len(rows), replace=False)]


def _cut(rows: np.ndarray, data: LabelledTexts) -> Split:
    first, second = int(len(rows) * 0.7), int(len(rows) * 0.7) + int(len(rows) * 0.1)
    train, validation, test = rows[:first], rows[first:second], rows[second:]
    known = {data.texts[row] for row in train}
    return Split(train, validation, test, undersampled=len(data.texts) - len(rows),
                 leaked=sum(data.texts[row] in known for row in test))
