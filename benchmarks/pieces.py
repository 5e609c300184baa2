"""What the measurements of classifiers share: many runs, one after the other, each done once and kept.

A measurement has a folder. Every finished piece is a line of its results.jsonl; the command that was stopped goes on
when it is given again: pieces that are there are not done again, and a run in the middle is resumed at its last state.
"""

import argparse
import contextlib
import json
import math
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import common  # noqa: F401 - the path

from tinygrad_gpt.recipes.classification.config import BAG_OF_WORDS, FinetuneConfig
from tinygrad_gpt.recipes.classification.finetune import finetune_classifier, resume_classifier
from tinygrad_gpt.runs.folder import holds_run

__all__ = ["Results", "command_line", "config_of", "finetuned", "interval", "markdown", "percent", "report_of",
           "taught", "with_interval", "with_typed"]

# Two-sided 95 % points of Student's t for 1, 2, … degrees of freedom.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)

PARTS = ("text_column", "label_column", "label_separator", "classes", "encoding", "skip_malformed", "test", "extra",
         "split", "split_seed", "seed")  # settings that a teacher shares


class Results:
    """The finished pieces of a measurement, in a file of JSON lines."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "results.jsonl"
        *lines, cut = (self.file.read_text(encoding="utf-8") if self.file.exists() else "").split("\n")
        if cut:  # the process was killed while it wrote
            self.file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        self.pieces = [json.loads(line) for line in lines]

    def find(self, **key: Any) -> dict | None:
        """The figures of a piece, None if it is not done."""
        return next((piece["figures"] for piece in self.pieces if piece["key"] == key), None)

    def get(self, measure: Callable[[], dict], **key: Any) -> dict:
        """The figures of a piece, measured now if they are not there."""
        found = self.find(**key)
        if found is None:
            started = time.monotonic()
            found = measure() | {"minutes": (time.monotonic() - started) / 60}
            self.pieces.append({"key": key, "figures": found})
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(self.pieces[-1], ensure_ascii=False) + "\n")
            print(f"{time.strftime('%H:%M')} {key}: {_short(found)}", file=sys.stderr, flush=True)
        return found


def _short(figures: dict) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in figures.items() if isinstance(value, float))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean of a few values, and half the width of its 95 % interval by Student's t; infinite for one value."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, math.inf
    degrees = min(len(values) - 1, len(STUDENT))
    return mean, STUDENT[degrees - 1] * statistics.stdev(values) / math.sqrt(len(values))


def percent(share: float) -> str:
    """A share in per cent: 0.98765 is "98.77"."""
    return f"{100 * share:.2f}"


def with_interval(values: Sequence[float], signed: bool = False) -> str:
    """Mean and 95 % interval of shares, in per cent: "98.77 ± 0.31"."""
    mean, half = interval(values)
    text = f"{100 * mean:+.2f}" if signed else percent(mean)
    return text if math.isinf(half) else f"{text} ± {percent(half)}"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table of which the first row is the heading; all columns but the first to the right."""
    first, *others = [f"| {' | '.join(cells)} |" for cells in rows]
    return "\n".join([first, f"|---{'|---:' * (len(rows[0]) - 1)}|", *others])


def report_of(config: FinetuneConfig, folder: Path) -> dict:
    """The report of a finetuning, begun or resumed in a folder."""
    result = resume_classifier(folder) if holds_run(folder) else finetune_classifier(config, folder)
    return {"test": result.test.to_dict(), "validation": result.validation.to_dict(),
            "baseline": result.baseline.to_dict() if result.baseline else None,
            "calibration": result.calibration and asdict(result.calibration), "counts": result.counts}


def finetuned(config: FinetuneConfig, folder: Path) -> dict:
    """The same; when it is there, models and states are removed."""
    report = report_of(config, folder)
    shutil.rmtree(folder)
    return report


def taught(config: FinetuneConfig, base: str, folder: Path, epochs: int) -> dict:
    """The report of a finetuning whose teachers are the bag of words and another base, finetuned on the same parts.

    Args:
        config: of the run that learns from them.
        base: of the teacher, which has the defaults.
        folder: of the run; the teacher's is beside it. Both are removed.
        epochs: of the teacher.
    """
    teacher = folder.with_name(f"{folder.name}-teacher")
    shared = {name: getattr(config, name) for name in PARTS}
    figures = report_of(FinetuneConfig(config.data, base=base, epochs=epochs, **shared), teacher)["test"]
    report = finetuned(replace(config, teachers=(str(teacher), BAG_OF_WORDS)), folder)
    shutil.rmtree(teacher)
    return report | {"teacher": figures}


def command_line(description: str) -> argparse.ArgumentParser:
    """The options that all measurements have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="labelled texts, as finetune classifier reads them")
    parser.add_argument("--text-column")
    parser.add_argument("--label-column")
    parser.add_argument("--encoding", default="utf-8")
    parser.add_argument("--base", default="storyteller")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                        help="a setting of FinetuneConfig, such as epochs=3; may be given again")
    parser.add_argument("--out", required=True, type=Path, help="folder of the measurement; a second start goes on")
    return parser


def config_of(options: argparse.Namespace, **settings: Any) -> FinetuneConfig:
    """The settings of a run: those given, over them what the measurement says, over them what was typed with --set."""
    config = FinetuneConfig(os.path.abspath(options.data), text_column=options.text_column,
                            label_column=options.label_column, encoding=options.encoding, base=options.base, **settings)
    return with_typed(config, options)


def with_typed(config: FinetuneConfig, options: argparse.Namespace) -> FinetuneConfig:
    """The same with what was typed with --set."""
    typed = dict(setting.split("=", 1) for setting in options.set)
    return replace(config, **{name: _value(text, getattr(config, name)) for name, text in typed.items()})


def _value(text: str, old: Any) -> Any:
    """What was typed, of the type of the setting's old value; of None, the number that it reads as, else the text."""
    if isinstance(old, bool):
        return text.lower() in ("1", "true", "yes")
    if isinstance(old, str):
        return text
    for number in (int, float):
        with contextlib.suppress(ValueError):
            return number(text)
    return text
