"""The report of a set of experiments: our figures beside the book's, in Markdown and in one HTML file."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tinygrad_gpt.book.experiments import ROWS
from tinygrad_gpt.figures.pictures import Point, draw_intervals
from tinygrad_gpt.files import write_atomic
from tinygrad_gpt.recipes.experiments.config import ExperimentsConfig, starts_by_name
from tinygrad_gpt.recipes.experiments.experiments import Result
from tinygrad_gpt.recipes.experiments.family import describe_family

__all__ = ["REPORT_FILES", "Picture", "Table", "bag_of_words", "result_table", "to_html", "to_markdown", "write_report"]

REPORT_FILES = ("report.md", "report.html", "accuracy.png", "minutes.png")
STYLE = """body { font: 16px/1.5 sans-serif; max-width: 80em; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse; display: block; overflow-x: auto }
th, td { border: 1px solid #ccc; padding: .2em .6em; text-align: right; white-space: nowrap }
th:nth-child(2), td:nth-child(2) { text-align: left }
img { max-width: 100% }"""


@dataclass(frozen=True)
class Table:
    """Columns and rows of text."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Picture:
    """A PNG file, and what it shows."""

    path: Path
    text: str


Piece = str | list[str] | Table | Picture  # a text that begins with "# " or "## " is a heading


def write_report(out: str | Path, config: ExperimentsConfig, results: Sequence[Result]) -> None:
    """Write report.md, report.html, which holds its pictures, and the pictures as files.

    Raises:
        ResourceError, TinygradError: as `write_atomic`.
    """
    out = Path(out)
    pieces = [*_introduction(config, results, out), result_table(results, config.base),
              "Accuracies in per cent, with a 95 % interval of the test accuracy: " + _intervals(config) +
              (" One text of the book's test part is 0.33 points." if any(result.row in ROWS for result in results)
               else ""),
              Picture(out / "accuracy.png", "Accuracy on the test texts, with 95 % intervals."),
              Picture(out / "minutes.png", "Minutes of training."), *_remarks(results), *_failures(results)]
    write_atomic(out / "report.md", to_markdown(pieces).encode())
    _draw(out, results)
    write_atomic(out / "report.html", to_html(pieces).encode())


def bag_of_words(results: Sequence[Result]) -> tuple[float, tuple[float, float]] | None:
    """Accuracy of a bag of words on the test texts of all rows, and its interval; None without scikit-learn."""
    return next((run.bag_of_words for result in results for run in result.runs if run.bag_of_words), None)


def result_table(results: Sequence[Result], base: str) -> Table:
    """A line for each row that has runs, and one for the bag of words; in per cent, minutes, MB."""
    header = ("row", "what is done", "model", "train", "validation", "test", "95 %", "minutes", "tokens", "peak MB",
              "trained", "reference: model", "train", "validation", "test", "minutes")
    lines = []
    for result in results:
        row = result.row
        theirs = (row.model, *("–" if figure is None else f"{figure:.2f}"
                               for figure in (row.train, row.validation, row.test, row.minutes)))
        if not result.runs:
            lines.append((str(row.number), row.title, "not run", *["–"] * 8, *theirs))
            continue
        parts = [f"{100 * result.average(part):.2f}" for part in ("train", "validation", "test")]
        lines.append((str(row.number), row.title, _model(result, base), *parts, _interval(result.interval),
                      f"{result.average('seconds') / 60:.2f}", f"{result.average('tokens'):,.0f}",
                      f"{max(run.memory for run in result.runs) / 1e6:,.0f}", f"{result.runs[0].trained:,}", *theirs))
    if words := bag_of_words(results):
        lines.append(("–", "bag of words, logistic regression", "–", "–", "–", f"{100 * words[0]:.2f}",
                      _interval(words[1]), *["–"] * 9))
    return Table(header, lines)


def _model(result: Result, base: str) -> str:
    if result.row.model == "random" or base == "table":
        return result.row.model
    return f"own, for {result.row.model}" if starts_by_name(base) else Path(base).name


def _interval(interval: tuple[float, float]) -> str:
    return f"{100 * interval[0]:.2f} to {100 * interval[1]:.2f}"


def _introduction(config: ExperimentsConfig, results: Sequence[Result], out: Path) -> list[Piece]:
    machines = sorted({run.machine for result in results for run in result.runs})
    seeds = ", ".join(map(str, config.seeds))
    return [
        "# The book's experiments on finetuning",
        f"{Path(config.data).name}, split as in the book's experiments. {_base(config, results)}Seeds: {seeds}. "
        f"Epochs: {config.epochs}. Learning rate: {config.lr:g}. "
        f"Computed on: {'; '.join(machines) or 'nothing yet'}.",
        "The book's figures are those of its own table: one seed, on an A100." + _comparable(config, results),
        *_models(config, out),
        *sorted({f"{run.caution[0].upper()}{run.caution[1:]}." for result in results for run in result.runs
                 if run.caution}),
    ]


def _base(config: ExperimentsConfig, results: Sequence[Result]) -> str:
    if all(result.row.model == "random" for result in results):
        return ""
    if not starts_by_name(config.base):
        return f"Base: {Path(config.base).name}. "
    return "Each row starts from its own model" + (
        ", as in the book's table. " if config.base == "table" else " of ours, in place of the book's. ")


def _comparable(config: ExperimentsConfig, results: Sequence[Result]) -> str:
    """Of which rows the book's figures are of another model."""
    base = Path(config.base).name
    others = [str(result.row.number) for result in results if result.row.model not in ("random", base)]
    if config.base == "table" or not others:
        return ""
    if starts_by_name(config.base):
        return (" They are of OpenAI's models and not to be compared with ours; how accuracy changes with the size of "
                "the model can be.")
    return f" Of row {', '.join(others)} they are of another model than {base}, and not to be compared with ours."


def _models(config: ExperimentsConfig, out: Path) -> list[Piece]:
    """What the own models of the rows are."""
    if config.base == "table" or not starts_by_name(config.base):
        return []
    lines = describe_family(out / "family" if config.base == "family" else config.base, config.models)
    return ["Our models have the proportions of GPT-2's sizes and were trained alike:" if config.base == "family" else
            "Our models:", lines]


def _intervals(config: ExperimentsConfig) -> str:
    if len(config.seeds) == 1:
        return "Wilson's, for one run, over the texts."
    return (f"Student's t over {len(config.seeds)} seeds, of which the accuracies are the means; it tells how much the "
            "seed matters, not how few the texts are.")


def _remarks(results: Sequence[Result]) -> list[Piece]:
    """What a reader of the table must know of its rows."""
    items = []
    for result in results:
        texts = [result.row.remark] if result.row.remark else []
        if result.first is not result.row:
            texts.append(f"On one base it is the same run as row {result.first.number}.")
        items += [f"Row {result.row.number}: {' '.join(texts)}"] if texts else []
    return ["## Remarks", items] if items else []


def _failures(results: Sequence[Result]) -> list[Piece]:
    items = [f"Row {result.row.number}: {error}" for result in results for error in result.failures]
    return ["## Not run", items] if items else []


def _draw(out: Path, results: Sequence[Result]) -> None:
    """The two pictures; of rows without runs they show the book's figures only."""
    names = [f"{result.row.number} {result.row.name}" for result in results]
    ours: list[Point | None] = [_point(result.average("test"), *result.interval) if result.runs else None
                                for result in results]
    theirs: list[Point | None] = [(result.row.test,) * 3 for result in results]
    words = bag_of_words(results)
    draw_intervals(out / "accuracy.png", [*names, *(["bag of words"] if words else [])], {
        "here": [*ours, *([_point(words[0], *words[1])] if words else [])], "reference": theirs,
    }, "accuracy on the test texts, %")
    minutes: list[Point | None] = [(result.average("seconds") / 60,) * 3 if result.runs else None
                                   for result in results]
    draw_intervals(out / "minutes.png", names, {
        "here": minutes, "reference (A100)": [
            None if result.row.minutes is None else (result.row.minutes,) * 3 for result in results],
    }, "minutes of training")


def _point(share: float, low: float, high: float) -> Point:
    """In per cent."""
    return 100 * share, 100 * low, 100 * high


def to_markdown(pieces: Sequence[Piece]) -> str:
    """The pieces as Markdown; pictures are files beside it."""
    parts = []
    for piece in pieces:
        if isinstance(piece, Table):
            lines = [piece.header, ["---"] * len(piece.header), *piece.rows]
            parts.append("\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"
                                   for line in lines))
        elif isinstance(piece, list):
            parts.append("\n".join(f"- {item}" for item in piece))
        else:
            parts.append(f"![{piece.text}]({piece.path.name})" if isinstance(piece, Picture) else piece)
    return "\n\n".join(parts) + "\n"


def to_html(pieces: Sequence[Piece]) -> str:
    """The pieces as one HTML file that needs no other."""
    title = html.escape(next((p for p in pieces if isinstance(p, str)), "").lstrip("# "))
    return (f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{title}</title>\n'
            f"<style>\n{STYLE}\n</style>\n" + "\n".join(map(_html, pieces)) + "\n</html>\n")


def _html(piece: Piece) -> str:
    if isinstance(piece, Picture):
        data = base64.b64encode(piece.path.read_bytes()).decode()
        return f'<p><img alt="{html.escape(piece.text)}" src="data:image/png;base64,{data}"></p>'
    if isinstance(piece, Table):
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in piece.header)
        body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>\n" for row in piece.rows)
        return f"<table>\n<tr>{head}</tr>\n{body}</table>"
    if isinstance(piece, list):
        return "<ul>\n" + "\n".join(f"<li>{html.escape(item)}</li>" for item in piece) + "\n</ul>"
    for mark, tag in (("## ", "h2"), ("# ", "h1")):
        if piece.startswith(mark):
            return f"<{tag}>{html.escape(piece.removeprefix(mark))}</{tag}>"
    return f"<p>{html.escape(piece)}</p>"
