"""Labelled texts from files, and splits that share no text."""

import hashlib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, field, replace
from typing import Any

import numpy as np

from tinygrad_gpt.data.columns import find_text_and_label
from tinygrad_gpt.data.compressed import Source
from tinygrad_gpt.data.json_entries import Number
from tinygrad_gpt.data.rows import Counts, Table
from tinygrad_gpt.data.several_labels import label_columns, separated_labels
from tinygrad_gpt.data.tables import open_table
from tinygrad_gpt.data.texts import cell_fault
from tinygrad_gpt.errors import DataError, UsageError, listed

__all__ = [
    "LabelledTexts", "Split", "in_given_order", "normalise", "read_labelled", "shared_texts", "split_by_text",
    "split_for_test", "with_extra",
]


@dataclass(frozen=True)
class LabelledTexts:
    """Texts with the index of their class, or with any number of labels.

    Args:
        texts: N of them.
        labels: (N,) int64, the class of each; or (N, K) float32, 1 for each label that a text has.
        classes: (K) names, sorted unless an order was given, so that they do not depend on the order of the rows.
        counts: where the lines of the file went.
        file: its name.
    """

    texts: list[str]
    labels: np.ndarray
    classes: list[str]
    counts: Counts = field(default_factory=Counts)
    file: str = "data"

    def in_order(self, classes: Sequence[str]) -> "LabelledTexts":
        """The same with classes in another order, perhaps with further ones, which no text has."""
        places = np.array([list(classes).index(name) for name in self.classes])
        if self.labels.ndim == 1:
            return replace(self, labels=places[self.labels], classes=list(classes))
        labels = np.zeros((len(self.labels), len(classes)), np.float32)
        labels[:, places] = self.labels
        return replace(self, labels=labels, classes=list(classes))


@dataclass(frozen=True)
class Split:
    """Indices into the texts, what was left out, and what is wrong with it."""

    train: np.ndarray  # int64, as the next two
    validation: np.ndarray
    test: np.ndarray
    duplicates: int = 0  # rows left out: their text, normalised, is in an earlier row
    conflicts: int = 0  # rows left out: their text, normalised, has two different labels
    undersampled: int = 0  # rows left out so that the classes are of one size
    leaked: int = 0  # test texts that are in the training part as well, letter for letter
    in_test: int = 0  # rows left out: their text, normalised, is in the test file

    @property
    def rows(self) -> np.ndarray:
        """All of the parts."""
        return np.concatenate([self.train, self.validation, self.test])

    @property
    def left_out(self) -> str:
        """`3 duplicates and 0 texts with two labels left out`."""
        if self.undersampled:
            return (f"{self.undersampled:,} rows left out to balance the classes; "
                    f"{self.leaked:,} of the test texts are in the training part as well")
        known = f"{self.in_test:,} texts of the test file, " if self.in_test else ""
        return f"{known}{self.duplicates:,} duplicates and {self.conflicts:,} texts with two labels left out"

    def __str__(self) -> str:
        """The same, and `70 training, 10 validation, 20 test texts`."""
        return (f"{self.left_out}; {len(self.train):,} training, {len(self.validation):,} validation, "
                f"{len(self.test):,} test texts")


def read_labelled(
    path: Source, text_column: str | None = None, label_column: str | Sequence[str] | None = None, *,
    encoding: str = "utf-8", skip_malformed: bool = False, quotes: bool = False, label_separator: str | None = None,
) -> LabelledTexts:
    """Read texts and labels from a CSV, TSV, JSON Lines, Excel or Parquet file.

    Which columns: those that are named. Without names, the column `text` and the column `label`; failing that, the
    only column whose name is usual for it (message, review, …; category, class, …).
    Whether there is a header: columns given as numbers, counted from 1, mean that there is none; columns given by name
    mean that there is one. Without either, the first row is a header if it has the usual names. If not, a file of
    two columns is taken to have no header, the label being the column with fewer different values, provided that
    the label of the first row occurs again; a header's would not.

    Args:
        path: a file; no extension is read as TSV without quoting; `.gz`, `.xz`, `.bz2` and `.zip` are opened.
        text_column, label_column: names, or numbers from 1.
        encoding: of a file without byte order mark.
        skip_malformed: count malformed rows instead of refusing the file.
        quotes: read TSV with quotes, as pandas does unless it is told otherwise; a cell that begins with one may then
            swallow rows.
        label_separator: what separates the labels of a text; with it, or with several label columns, a text has any
            number of labels (see `data.several_labels`).

    Returns:
        The texts as they are in the file; labels without surrounding space.

    Raises:
        DataError: `malformed row (sms.csv, line 7, column text): the text is empty; …`; columns that are absent or
            ambiguous; one class only; labels that differ by case or space only.
    """
    with open_table(path, encoding=encoding, skip_malformed=skip_malformed, quotes=quotes, kept=True) as table:
        if label_separator is not None:
            found = separated_labels(table, text_column, _one(label_column), label_separator)
        elif not isinstance(label_column, (str, type(None))):
            found = label_columns(table, text_column, label_column)
        else:
            found = _one_label(table, text_column, label_column)
    _count(table, len(found[0]))
    return LabelledTexts(*found, table.counts, table.file)


def _one_label(table: Table, text_column: str | None,
               label_column: str | None) -> tuple[list[str], np.ndarray, list[str]]:
    texts, labels = [], []
    if table.names is None:
        table.rows += table.rest  # their contents may say which columns are meant
    text_at, label_at = table.wanted = find_text_and_label(table, text_column, label_column)
    for line, cells in table.all_rows():
        if why := cell_fault(cells[text_at], "text"):
            table.malformed(line, text_column or text_at + 1, why)
        elif why := cell_fault(label := _label(cells[label_at]), "label"):
            table.malformed(line, label_column or label_at + 1, why)
        else:
            texts.append(cells[text_at])
            labels.append(label)
    table.counts.records = len(texts)
    classes = _classes(labels, table)
    index = {label: i for i, label in enumerate(classes)}
    return texts, np.array([index[label.strip()] for label in labels], np.int64), classes


def _one(label_column: str | Sequence[str] | None) -> str | None:
    if isinstance(label_column, (str, type(None))):
        return label_column
    raise UsageError(f"{len(label_column)} label columns and a separator of labels: use one of them")


def in_given_order(data: LabelledTexts, classes: str) -> LabelledTexts:
    """The same texts with classes in an order that is given.

    Args:
        classes: each of them once, with commas between.

    Raises:
        DataError: "classes (mail.csv): no text has the label 'ad'; give each label once".
    """
    given = [name.strip() for name in classes.split(",")]
    if sorted(given) != sorted(data.classes):
        unknown, missing = sorted(set(given) - set(data.classes)), sorted(set(data.classes) - set(given))
        fault = (f"no text has the label {listed(map(repr, unknown))}" if unknown else
                 f"the label {listed(map(repr, missing))} is not among them" if missing else "one is there twice")
        raise DataError(f"classes ({data.file}): {fault}; give each label once")
    return data.in_order(given)


def _label(cell: Any) -> Any:
    """A label of a JSON file as text: numbers as they are spelled there, true and false as in JSON."""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return str(cell) if isinstance(cell, Number) else cell


def _count(table: Table, records: int) -> None:
    """Note the number of records, and make sure that every line is accounted for."""
    counts = table.counts
    counts.records = records
    accounted = records + counts.skipped + counts.header + counts.blank + counts.continued
    if accounted != counts.lines:
        raise DataError(f"lines do not add up ({table.file}): {counts}; please report this file")


def _classes(labels: list[str], table: Table) -> list[str]:
    """The sorted classes, after a look at how their labels are written."""
    spellings = defaultdict(list)
    for label, number in Counter(labels).items():
        spellings[normalise(label)].append((label, number))
    for same in spellings.values():
        if len(same) > 1:
            (a, n), (b, m) = sorted(same)[:2]
            raise DataError(f"labels {a!r} ({n:,} rows) and {b!r} ({m:,} rows) ({table.file}): "
                            "they differ by case or space only; write them alike")
    if len(spellings) < 2:
        raise DataError(f"{len(spellings)} class ({table.file}): {table.counts}; give texts of two classes or more")
    return sorted({label.strip() for label in labels})


def normalise(text: str) -> str:
    """The form in which two texts count as the same: NFKC, without case, white space collapsed."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def shared_texts(*parts: Iterable[str]) -> int:
    """The number of texts, normalised, that occur in more than one part."""
    seen = Counter(text for part in parts for text in {normalise(text) for text in part})
    return sum(number > 1 for number in seen.values())


def split_by_text(
    data: LabelledTexts, fractions: tuple[float, float, float] = (0.7, 0.1, 0.2), *, seed: int,
) -> Split:
    """Divide texts into training, validation and test, class by class, so that no text is in two parts.

    Within each class the texts are ordered by a hash of (seed, normalised text) and cut at the fractions. So the
    split does not depend on the order of the rows. Of equal texts the first row is kept; texts with two labels are
    left out altogether. Nothing is rebalanced, but every part gets a text of every class.

    Args:
        fractions: of training, validation and test; they add up to 1.
        seed: any integer.

    Raises:
        DataError: `class 'spam' (sms.tsv): 2 different texts are too few …`
        UsageError: fractions that are negative or do not add up to 1.
    """
    if not (fractions[0] > 0 and min(fractions) >= 0 and abs(sum(fractions) - 1) < 1e-9):
        raise UsageError(f"fractions {fractions}: they are shares for training, validation and test that add up to 1; "
                         "try (0.7, 0.1, 0.2)")
    rows = defaultdict(list)  # normalised text -> its rows
    for row, text in enumerate(data.texts):
        rows[normalise(text)].append(row)
    agreed = {text: same for text, same in rows.items() if len({data.labels[row].tobytes() for row in same}) == 1}
    strata = data.classes if data.labels.ndim == 1 else ["all texts"]  # with several labels there is no class to divide
    by_class: list[list[tuple[bytes, int]]] = [[] for _ in strata]
    for text, same in agreed.items():
        by_class[data.labels[same[0]] if data.labels.ndim == 1 else 0].append((_hash(seed, text), same[0]))

    parts: list[list[tuple[bytes, int]]] = [[], [], []]
    for name, members in zip(strata, by_class, strict=True):
        members.sort()
        held_out = [max(1, round(len(members) * fraction)) if fraction else 0 for fraction in fractions[1:]]
        sizes = [len(members) - sum(held_out), *held_out]
        if sizes[0] < 1:
            shares = ", ".join(f"{fraction:.0%}" for fraction in fractions if fraction)
            raise DataError(f"class {name!r} ({data.file}): {len(members)} different texts are too few for the parts "
                            f"of {shares}; add texts of this class, or leave it out")
        for part, start, size in zip(parts, (0, sizes[0], sizes[0] + sizes[1]), sizes, strict=True):
            part += members[start:start + size]
    train, validation, test = (np.array([row for _, row in sorted(part)], np.int64) for part in parts)
    if shared_texts(*([data.texts[row] for row in part] for part in (train, validation, test))):
        raise DataError(f"split ({data.file}): a text is in two parts; please report this file")
    conflicts = sum(len(same) for text, same in rows.items() if text not in agreed)
    return Split(train, validation, test, sum(len(same) - 1 for same in agreed.values()), conflicts)


def split_for_test(data: LabelledTexts, test: LabelledTexts, *, seed: int) -> tuple[LabelledTexts, Split]:
    """Join two files; all of the second is the test part, the first is divided by text, 90 % to 10 %.

    Texts of the first file that are in the second are left out, so that no test text was seen in training.

    Args:
        data: to train on and to validate with.
        test: to judge on, every row of it; its classes are among those of ``data``.
        seed: of the division, as in `split_by_text`.

    Returns:
        The texts of both files with the sum of their counts, and the split of them.

    Raises:
        DataError: `unknown labels (test.csv): 'ad' are not in mail.csv; …`, and as `split_by_text`.
    """
    labels = _labels_in(data, test)
    asked = {normalise(text) for text in test.texts}
    kept = np.array([row for row, text in enumerate(data.texts) if normalise(text) not in asked], np.int64)
    _check_left(data, kept, f"the test file, {test.file}")
    others = replace(data, texts=[data.texts[row] for row in kept], labels=data.labels[kept])
    split = split_by_text(others, (0.9, 0.1, 0.0), seed=seed)
    counts = Counts(*map(sum, zip(astuple(data.counts), astuple(test.counts), strict=True)))
    joined = replace(data, texts=data.texts + test.texts, labels=np.concatenate([data.labels, labels]), counts=counts)
    return joined, replace(
        split, train=kept[split.train], validation=kept[split.validation],
        test=np.arange(len(data.texts), len(joined.texts)), in_test=len(data.texts) - len(kept))


def with_extra(data: LabelledTexts, split: Split, extra: LabelledTexts, *, seed: int) -> tuple[LabelledTexts, Split]:
    """Add texts that are trained on (90 %) or validate (10 %); the test part stays what it is.

    Args:
        data, split: the texts and their parts.
        extra: more texts; its classes are among those of ``data``. Texts that are in ``data`` are left out.
        seed: of the division, as in `split_by_text`.

    Returns:
        All texts, and the split of them.

    Raises:
        DataError: `unknown labels (more.tsv): 'ad' are not in mail.csv; …`, and as `split_by_text`.
    """
    labels = _labels_in(data, extra)
    asked = {normalise(text) for text in data.texts}
    kept = np.array([row for row, text in enumerate(extra.texts) if normalise(text) not in asked], np.int64)
    _check_left(extra, kept, data.file)
    others = replace(extra, texts=[extra.texts[row] for row in kept], labels=extra.labels[kept])
    added = split_by_text(others, (0.9, 0.1, 0.0), seed=seed)
    counts = Counts(*map(sum, zip(astuple(data.counts), astuple(extra.counts), strict=True)))
    joined = replace(data, texts=data.texts + others.texts, labels=np.concatenate([data.labels, labels[kept]]),
                     counts=counts)
    first = len(data.texts)
    return joined, replace(
        split, train=np.concatenate([split.train, first + added.train]),
        validation=np.concatenate([split.validation, first + added.validation]),
        duplicates=split.duplicates + added.duplicates + len(extra.texts) - len(kept),
        conflicts=split.conflicts + added.conflicts)


def _check_left(data: LabelledTexts, kept: np.ndarray, other: str) -> None:
    """Refuse a file of which no text of a class is left."""
    gone = sorted(set(data.labels) - set(data.labels[kept])) if data.labels.ndim == 1 else []
    if gone or not len(kept):
        what = f"class {listed(repr(data.classes[k]) for k in gone)}" if gone else "texts"
        raise DataError(f"{what} ({data.file}): every text is in {other} as well; give another file")


def _labels_in(data: LabelledTexts, other: LabelledTexts) -> np.ndarray:
    """Labels of texts of another file, for the classes of ``data``."""
    if unknown := [name for name in other.classes if name not in data.classes]:
        raise DataError(f"unknown labels ({other.file}): {', '.join(map(repr, unknown[:10]))} are not in "
                        f"{data.file}; rename them, or add texts with them there")
    return other.in_order(data.classes).labels


def _hash(seed: int, text: str) -> bytes:
    return hashlib.blake2b(f"{seed}\0{text}".encode(), digest_size=16).digest()
