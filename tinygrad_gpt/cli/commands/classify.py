"""`classify`: a label and its probability for each text."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from tinygrad_gpt.cli.idle import SOURCE, note_idle
from tinygrad_gpt.cli.options import check_source, common_options, echo, opened, print_json
from tinygrad_gpt.cli.reasons import print_reason
from tinygrad_gpt.cli.show import columns, note, note_special, shortened
from tinygrad_gpt.errors import DataError, UsageError

__all__ = ["command"]

EXTENSIONS = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


@click.command(name="classify")
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
@click.option("--file", metavar="PATH", help="Read the texts from a file, - being standard input: one a line, or a "
                                             "column of a .csv, .tsv or .jsonl file.")
@click.option("--text-column", metavar="COLUMN", help="Column of the texts in the file, by name or number from 1.")
@click.option("--encoding", default="utf-8", show_default=True, help="Encoding of the file.")
@click.option("--skip-malformed", is_flag=True, help="Leave out empty lines and malformed rows of the file.")
@click.option("--model", default=None, metavar="PATH|NAME",
              help="A checkpoint, a run folder, or a shipped model.  [default: the shipped spam filter]")
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE",
              help="Write text, label and probability to a .csv, .tsv or .jsonl file.")
@click.option("--explain", is_flag=True, help="Say which words moved each decision.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write the same as an HTML page.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON per text.")
@common_options
def command(texts: Sequence[str], file: str | None, text_column: str | None, encoding: str, skip_malformed: bool,
            model: str | None, output: Path | None, explain: bool, html: Path | None, as_json: bool) -> None:
    """Say which class a text belongs to, and why."""
    check_source("classify", "text", texts, file, text_column)
    _check_output(output, as_json)
    if output and explain:
        raise UsageError("--explain, --output (arguments): a table has no place for reasons; use --json or --html")
    from tinygrad_gpt.recipes.classification.classify import classify
    from tinygrad_gpt.runs.saved_model import SHIPPED_CLASSIFIER, load_model

    saved = load_model(SHIPPED_CLASSIFIER if model is None else model)
    skipped = 0
    if file:
        from tinygrad_gpt.data.texts import read_texts

        texts, skipped = read_texts(opened(file), text_column, encoding=encoding,
                                    skip_malformed=skip_malformed)
    answers = classify(saved, texts)
    reasons = _reasons(saved, answers) if explain or html else [None] * len(answers)
    if html:
        _write_page(html, answers, reasons)
    if output:
        _write(output, answers)
    elif as_json:
        for answer, reason in zip(answers, reasons, strict=True):
            print_json({**asdict(answer), **({"explanation": asdict(reason)} if reason else {})})
    else:
        rows = columns([(answer.label, f"{answer.probability:.3f}") for answer in answers])
        for row, answer, reason in zip(rows, answers, reasons, strict=True):
            echo(shortened(f"{row}  ", answer.text))
            if reason and explain:
                print_reason(reason)
    note_idle(click.get_current_context(), [SOURCE])
    note_special(saved.tokenizer, texts)
    if skipped:
        note(f"{skipped:,} malformed rows skipped")
    if truncated := sum(answer.truncated for answer in answers):
        note(f"{truncated:,} of {len(answers):,} texts longer than the {saved.classifier.longest_text} tokens that the "
             "model reads; their ends were not read")


def _reasons(saved, answers):
    from tinygrad_gpt.recipes.classification.attribution import attribute

    return [attribute(saved, answer.text, answer.label) for answer in answers]


def _write_page(path: Path, answers, reasons) -> None:
    from tinygrad_gpt.files import write_atomic
    from tinygrad_gpt.recipes.classification.attribution_page import attribution_page

    write_atomic(path, attribution_page(answers, reasons).encode())
    note(f"the reasons for {len(answers):,} answers written to {path}")


def _check_output(output, as_json):
    if output and as_json:
        raise UsageError("--output, --json (arguments): two places for the answers; use one of them")
    if output and output.suffix.lower() not in EXTENSIONS:
        raise UsageError(f"--output ({output}): unknown extension {output.suffix!r}; use .csv, .tsv or .jsonl")


def _write(output: Path, answers: Sequence) -> None:
    from tinygrad_gpt.files import write_atomic

    rows = [{"text": answer.text, "label": answer.label, "probability": answer.probability} for answer in answers]
    text = {"csv": _csv, "tsv": _tsv, "jsonl": _jsonl}[EXTENSIONS[output.suffix.lower()]](rows)
    write_atomic(output, text.encode())
    note(f"{len(answers):,} answers written to {output}")


def _csv(rows: list[dict]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _tsv(rows: list[dict]) -> str:
    """Without quotes, as TSV is read here; so tabs and line ends have no place in a cell."""
    for number, row in enumerate(rows, start=1):
        if any(character in row["text"] + row["label"] for character in "\t\n\r"):
            raise DataError(f"cannot write as TSV (text {number}): it has a tab or a line end; use .csv or .jsonl")
    return "".join("\t".join(map(str, cells)) + "\n" for cells in (rows[0], *(row.values() for row in rows)))


def _jsonl(rows: list[dict]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
