"""`evaluate classifier`: how good a classifier is on texts whose labels are known."""

import click

from tinygrad_gpt.cli.options import (
    NonNegativeInt,
    UnitInterval,
    columns_given,
    common_options,
    echo,
    opened,
    print_json,
)
from tinygrad_gpt.cli.show import columns, note, report_text, shortened

__all__ = ["command"]


@click.command(name="classifier")
@click.option("--data", required=True, metavar="FILE", help="Labelled texts: .csv, .tsv, .jsonl, .xlsx or .parquet.")
@click.option("--text-column", metavar="COLUMN", help="Column of the texts, by name or number from 1.")
@click.option("--label-column", metavar="COLUMN", multiple=True, help="Column of the labels, by name or number from 1; "
              "given more than once, a text has those labels whose columns say 1, yes or true.")
@click.option("--label-separator", metavar="TEXT", help="What separates several labels in their column, such as ';'.")
@click.option("--encoding", default="utf-8", show_default=True, help="Encoding of the file.")
@click.option("--skip-malformed", is_flag=True, help="Count malformed rows instead of refusing the file.")
@click.option("--model", default=None, metavar="PATH|NAME",
              help="A checkpoint, a run folder, or a shipped model.  [default: the shipped spam filter]")
@click.option("--part", type=click.Choice(["all", "train", "validation", "test"]), default="all", show_default=True,
              help="All rows, or a part of the split that the model was finetuned with.")
@click.option("--unsure-below", type=UnitInterval(), default=None, metavar="P",
              help="Count answers below this probability as unsure.  [default: what the model was finetuned with]")
@click.option("--errors", type=NonNegativeInt(1_000_000), default=0, metavar="N",
              help="List the N wrong answers that the model was surest of.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
@common_options
def command(data: str, text_column: str | None, label_column: tuple[str, ...], label_separator: str | None,
            encoding: str, skip_malformed: bool, model: str | None, part: str, unsure_below: float | None, errors: int,
            as_json: bool) -> None:
    """Measure a classifier on labelled texts."""
    from tinygrad_gpt.data.classification import read_labelled
    from tinygrad_gpt.recipes.classification.classify import with_unsure_below
    from tinygrad_gpt.recipes.classification.evaluate import evaluate, label_options, reads_quotes
    from tinygrad_gpt.runs.saved_model import SHIPPED_CLASSIFIER, load_model

    saved = load_model(SHIPPED_CLASSIFIER if model is None else model)
    if unsure_below is not None:
        saved = with_unsure_below(saved, unsure_below)
    given = {"label_column": columns_given(label_column), "label_separator": label_separator}
    options = given if label_column or label_separator else label_options(saved)
    labelled = read_labelled(opened(data), text_column, encoding=encoding, skip_malformed=skip_malformed,
                             quotes=reads_quotes(saved, part), **options)
    result = evaluate(saved, labelled, part)
    if result.caution:
        note(result.caution)
    if as_json:
        figures = result.to_dict()
        print_json({**figures, "mistakes": figures["mistakes"][:errors]})
        return
    lines = [result.counts, f"{result.truncated:,} texts truncated to {saved.classifier.longest_text} tokens", "",
             report_text(result.report)]
    if saved.unsure_below:
        others = "" if result.sure_accuracy is None else f"; accuracy of the others {result.sure_accuracy:.4f}"
        lines += ["", f"{result.unsure:,} answers unsure, below {saved.unsure_below:g}{others}"]
    if errors:
        shown = result.mistakes[:errors]
        lines += ["", f"{len(shown):,} of {len(result.mistakes):,} wrong answers, the surest first"]
        rows = columns([("said", "p", "label"), *((m.predicted, f"{m.probability:.3f}", m.label) for m in shown)])
        lines += [shortened(f"{row}  ", text) for row, text in zip(rows, ["text", *(m.text for m in shown)],
                                                                  strict=True)]
    echo("\n".join(lines))
