"""What several commands print: notes, aligned columns, shortened texts, the report on a classifier."""

import shutil
import sys
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from tinygrad_gpt.cli.options import one_line
from tinygrad_gpt.terminal import aligned, width

if TYPE_CHECKING:
    from tinygrad_gpt.figures.classification import Report
    from tinygrad_gpt.figures.several_labels import LabelsReport
    from tinygrad_gpt.text import Tokenizer

__all__ = ["columns", "note", "note_half_precision", "note_special", "report_text", "shortened"]

LARGEST_MATRIX = 12  # classes whose confusion matrix still fits a terminal


def note(text: str) -> None:
    """Print one line on stderr."""
    print(f"{one_line(text)}\n", end="", file=sys.stderr, flush=True)  # one write, which Ctrl-C cannot cut in two


def note_special(tokenizer: "Tokenizer", texts: Iterable[str], remedy: str = "") -> None:
    """Note that texts hold special tokens of the model, which were read as text."""
    if found := sorted(tokenizer.special_in(texts)):
        more = f" and {len(found) - 3} others" if len(found) > 3 else ""
        note(f"{', '.join(token[:40] for token in found[:3])}{more} in the text: read as text, not as special tokens"
             + (f"; {remedy}" if remedy else ""))


def note_half_precision(precision: str) -> None:
    """Note, where there is no GPU, that half precision is slow."""
    from tinygrad_gpt.backend import default_backend

    if precision in ("bfloat16", "float16") and default_backend().on_host:
        note(f"--precision {precision}: NumPy computes it as a GPU would, but slower than float32; it is fast with "
             "--backend cupy")


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with the cells of each column below each other: the first to the left, numbers to the right."""
    rows = [[one_line(cell) for cell in row] for row in rows]
    return aligned(rows, "<" + ">" * (len(rows[0]) - 1))


def shortened(start: str, text: str) -> str:
    """One line, `start` and as much of the text as the terminal's width has room for; in a pipe, all of it."""
    room = shutil.get_terminal_size(fallback=(sys.maxsize, 24)).columns - width(start)
    text = one_line(text)
    if 2 * len(text) <= room:  # surely fits, without a look at every character
        return start + text
    ends = list(accumulate(map(width, text)))
    return start + text if ends[-1] <= room else f"{start}{text[:sum(end < room for end in ends)]}…"


def report_text(report: Any) -> str:
    """Figures of a classifier, a `Report` or a `LabelsReport`: in a sentence, per class, and which it confuses."""
    if not hasattr(report, "confusion"):
        return _labels_text(report)
    low, high = report.accuracy_interval
    per_class = columns([("class", "texts", "predicted", "precision", "recall", "F1")] + [
        (figures.label, f"{figures.count:,}", f"{figures.predicted:,}", f"{figures.precision:.4f}",
         f"{figures.recall:.4f}", f"{figures.f1:.4f}") for figures in report.classes])
    return "\n".join([
        f"accuracy {report.accuracy:.4f} ({low:.4f} to {high:.4f}) on {report.count:,} texts; "
        f"always the commonest class: {report.majority:.4f}",
        f"F1 {report.f1:.4f}, log loss {report.log_loss:.4f}, calibration error {report.calibration_error:.4f}",
        "", *per_class, "", *_confusion(report)])


def _labels_text(report: "LabelsReport") -> str:
    per_label = columns([("label", "threshold", "texts", "predicted", "precision", "recall", "F1")] + [
        (figures.label, f"{figures.threshold:.3f}", f"{figures.count:,}", f"{figures.predicted:,}",
         f"{figures.precision:.4f}", f"{figures.recall:.4f}", f"{figures.f1:.4f}") for figures in report.classes])
    return "\n".join([
        f"F1 {report.f1:.4f} (mean of the labels), {report.f1_micro:.4f} (of all answers) on {report.count:,} texts",
        f"all labels right: {report.accuracy:.4f}, log loss {report.log_loss:.4f}", "", *per_label])


def _confusion(report: "Report") -> list[str]:
    names = [figures.label for figures in report.classes]
    if len(names) <= LARGEST_MATRIX:
        return columns([("true \\ predicted", *names)] + [
            (name, *(f"{n:,}" for n in row)) for name, row in zip(names, report.confusion, strict=True)])
    pairs = [(n, true, predicted) for true, row in zip(names, report.confusion, strict=True)
             for predicted, n in zip(names, row, strict=True) if n and true != predicted]
    commonest = sorted(pairs, reverse=True)[:LARGEST_MATRIX]
    return columns([("true", "predicted", "texts")] + [(true, predicted, f"{n:,}") for n, true, predicted in commonest])
