"""`classify`: a label and its probability for each text."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinygrad_gpt.cli.idle import SOURCE, note_idle
from tinygrad_gpt.cli.options import UnitInterval, check_source, common_options, echo, opened, print_json
from tinygrad_gpt.cli.progress import rate_shown
from tinygrad_gpt.cli.reasons import print_reason
from tinygrad_gpt.cli.resuming import stopped_with
from tinygrad_gpt.cli.show import columns, note, note_special, shortened
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.terminal import counted

if TYPE_CHECKING:
    from tinygrad_gpt.data.texts import TextRows
    from tinygrad_gpt.recipes.classification.classify import Prediction
    from tinygrad_gpt.runs.saved_model import SavedModel

__all__ = ["command"]


@click.command(name="classify")
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
@click.option("--file", metavar="PATH", help="Read the texts from a file, - being standard input: one a line, or a "
                                             "column of a .csv, .tsv, .jsonl, .xlsx or .parquet file.")
@click.option("--text-column", metavar="COLUMN", help="Column of the texts in the file, by name or number from 1.")
@click.option("--encoding", default="utf-8", show_default=True, help="Encoding of the file.")
@click.option("--skip-malformed", is_flag=True, help="Leave out rows of the file without text, and malformed ones.")
@click.option("--model", default=None, metavar="PATH|NAME",
              help="A checkpoint, a run folder, or a shipped model.  [default: the shipped spam filter]")
@click.option("--unsure-below", type=UnitInterval(), default=None, metavar="P",
              help="Answer 'unsure' below this probability.  [default: what the model was finetuned with]")
@click.option("--output", "--out", type=click.Path(path_type=Path), metavar="FILE",
              help="Write text, label and probability to a .csv, .tsv, .jsonl or .parquet file.")
@click.option("--resume", is_flag=True, help="Go on with an output that was stopped, behind its last whole row.")
@click.option("--explain", is_flag=True, help="Say which words moved each decision.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write the same as an HTML page.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON per text.")
@common_options
def command(texts: Sequence[str], file: str | None, text_column: str | None, encoding: str, skip_malformed: bool,
            model: str | None, unsure_below: float | None, output: Path | None, resume: bool, explain: bool,
            html: Path | None, as_json: bool) -> None:
    """Say which class a text belongs to, and why."""
    check_source("classify", "text", texts, file, text_column)
    _check_output(output, as_json, resume, explain)
    from tinygrad_gpt.recipes.classification.classify import classify_windows, refuse_empty, with_unsure_below
    from tinygrad_gpt.runs.saved_model import SHIPPED_CLASSIFIER, load_model

    saved = load_model(SHIPPED_CLASSIFIER if model is None else model)
    if saved.thresholds and (explain or html):
        raise UsageError("--explain, --html (arguments): with this model a text may have several labels, and "
                         "reasons are for one; leave them out")
    _ = saved.classifier  # refuses a language model before anything is read
    if unsure_below is not None:
        saved = with_unsure_below(saved, unsure_below)
    with contextlib.ExitStack() as stack:
        rows, source = None, iter(texts)
        if file:
            from tinygrad_gpt.data.texts import open_texts

            source = rows = stack.enter_context(open_texts(opened(file), text_column, encoding=encoding,
                                                  skip_malformed=skip_malformed))
        else:
            refuse_empty(texts)
        seen = _Seen(saved)
        windows = seen.counted(classify_windows(saved, source))
        if output:
            _write(output, saved, windows, source, resume, rows.table.share if rows else lambda: None)
        else:
            _print(saved, windows, explain, html, as_json)
    note_idle(click.get_current_context(), [SOURCE])
    seen.say(rows)


class _Seen:
    """What there is to say about the texts when all are answered."""

    def __init__(self, saved: "SavedModel"):
        self.saved, self.texts, self.truncated = saved, 0, 0
        self.tabs: set[int] = set()  # in a text
        self.special: dict[str, str] = {}  # special tokens of the model, each with a text that holds it

    def counted(self, windows: "Iterable[list[Prediction]]") -> "Iterator[list[Prediction]]":
        for window in windows:
            found = self.saved.tokenizer.special_in(answer.text for answer in window)
            self.special |= {token: next(answer.text for answer in window if token in answer.text) for token in found}
            self.truncated += sum(answer.truncated for answer in window)
            self.texts += len(window)
            self.tabs |= {answer.text.count("\t") for answer in window}
            yield window

    def say(self, rows: "TextRows | None") -> None:
        note_special(self.saved.tokenizer, self.special.values())
        if rows and rows.table.counts.skipped:
            note(f"{rows.table.counts.skipped:,} malformed rows skipped")
        if rows and rows.missing:
            note(f"{rows.missing:,} of {self.texts:,} rows without text, the first in line {rows.first_missing:,}; "
                 "their labels are empty")
        if rows and self.texts > 1 and len(self.tabs) == 1 and 0 not in self.tabs:
            note(f"every line was read as one text, with {counted(max(self.tabs), 'tab')} in it; if that is a table, "
                 "give --text-column")
        if self.truncated:
            note(f"{self.truncated:,} of {self.texts:,} texts longer than the {self.saved.classifier.longest_text} "
                 "tokens that the model reads; their ends were not read")


def _print(saved: "SavedModel", windows: "Iterable[list[Prediction]]", explain: bool, html: Path | None,
           as_json: bool) -> None:
    answers: list[Any] = []
    for window in windows:
        reasons = _reasons(saved, window) if explain or html else [None] * len(window)
        if html:
            answers += zip(window, reasons, strict=True)
        if as_json:
            for answer, reason in zip(window, reasons, strict=True):
                print_json({**asdict(answer), **({"explanation": asdict(reason)} if reason else {})})
            continue
        rows = columns([(answer.answer, "" if answer.probability is None else f"{answer.probability:.3f}")
                        for answer in window])
        for row, answer, reason in zip(rows, window, reasons, strict=True):
            echo(shortened(f"{row}  ", answer.text))
            if reason and explain:
                print_reason(reason)
    if html:
        _write_page(html, *zip(*((answer, reason) for answer, reason in answers if reason), strict=True))


def _reasons(saved, answers):
    from tinygrad_gpt.recipes.classification.attribution import attribute

    return [attribute(saved, answer.text, answer.label) if answer.label else None for answer in answers]


def _write_page(path: Path, answers, reasons) -> None:
    from tinygrad_gpt.files import write_atomic
    from tinygrad_gpt.recipes.classification.attribution_page import attribution_page

    write_atomic(path, attribution_page(answers, reasons).encode())
    note(f"the reasons for {counted(len(answers), 'answer')} written to {path}")


def _check_output(output: Path | None, as_json: bool, resume: bool, explain: bool) -> None:
    if output and as_json:
        raise UsageError("--output, --json (arguments): two places for the answers; use one of them")
    if output:
        from tinygrad_gpt.recipes.classification.answer_files import ANSWER_FORMATS

        if output.suffix.lower() not in ANSWER_FORMATS:
            raise UsageError(f"--output ({output}): unknown extension {output.suffix!r}; use .csv, .tsv, .jsonl, "
                             ".parquet")
    if output and explain:
        raise UsageError("--explain, --output (arguments): a table has no place for reasons; use --json or --html")
    if resume and not output:
        raise UsageError("--resume (arguments): only an --output can be resumed; name it")


def _write(output: Path, saved: "SavedModel", windows: "Iterable[list[Prediction]]", source: Any, resume: bool,
           share: Callable[[], float | None]) -> None:
    from tinygrad_gpt.recipes.classification.answer_files import AnswerFile

    answers = AnswerFile(output, saved.labels if saved.thresholds else ())
    if answers.check(resume):
        note(f"{output} is complete; there is nothing to resume, and nothing was compared")
        return
    found = answers.written(saved, source)
    with (stopped_with(lambda: f"{answers.rows:,} answers are kept; add --resume to the same command to go on"),
          rate_shown(found.rows, share) as report):
        answers.write(windows, found, report)
    note(f"{counted(answers.rows, 'answer')} written to {output}")
