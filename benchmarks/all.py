"""Every goal of this project about time and memory, in one table: ours, torch, ratio, goal, limit.

    python -m benchmarks.all [--threads N] [--out FOLDER] [--write]

Each line is measured as its script does it, ours and torch in processes of their own that take turns, but only with as
many threads as the machine has cores, where the script would try several. Under 20 minutes on two cores. A part that
is done is printed and kept in FOLDER, which by default is a new one; a second start with the same FOLDER and settings,
on a processor of the same kind, goes on with the parts that are not there. --write puts the table into
docs/benchmarks.md, beside those of other processors; the sections below it come from the scripts themselves.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import classify_step
import cold_start
import engine
import finetune_spam
import generate
import inference
import load
import scaling
import train_step
from common import REPOSITORY, Line, Options, command_line, finish, kind, lines_table, median, take_turns
from host import Watch
from pieces import Results

EPOCHS, TEXTS, STEPS = 5, 24, 3


def measure_finetuning(options: Options) -> list[Line]:
    """The book's procedure from end to end on a few of its texts, and one step of it, one change at a time."""
    if options.tiny:
        return []  # its model has one size
    settings = argparse.Namespace(epochs=EPOCHS, texts=TEXTS, steps=STEPS)
    wholes = {which: finetune_spam.measure(which, settings, True) for which in ("torch", "cached")}
    firsts = {which: wholes.get(which) or finetune_spam.measure(which, settings, False) for which in finetune_spam.RUNS}
    ours, torch = (wholes[which]["seconds"] for which in ("cached", "torch"))
    lines = [Line(f"{TEXTS} of the book's texts, {EPOCHS} epochs, from end to end", "s", ours, torch, ours / torch,
                  goal=1 / 15, threads=1)]
    for which, name in finetune_spam.RUNS.items():
        if which != "torch":
            ours, torch = firsts[which]["first"], firsts["torch"]["first"]
            lines.append(Line(f"one of the first {STEPS} steps: {name.lstrip('… ')}", "s", ours, torch, ours / torch,
                              threads=1))
    return lines


def measure_engine(options: Options) -> list[Line]:
    """The step of a tiny MLP, and what the engine adds to the arithmetic of an op."""
    blocks = take_turns(engine.__file__, {which: (which,) for which in ("ours", "torch", "ops")}, options.blocks, 1)
    ours, torch = ([block["step"] for block in blocks[which]] for which in ("ours", "torch"))
    ratio = median(a / b for a, b in zip(ours, torch, strict=True))
    worst = max(engine.op_rows(blocks), key=lambda row: float(row[-1]))
    return [Line("MLP of 16 inputs, 32 rows: forward and backward", "µs", median(ours), median(torch), ratio, goal=0.6,
                 threads=1),
            Line(f"an op, forward and backward, beyond its arithmetic; the worst: {worst[0]}", "µs", float(worst[-1]),
                 goal=5, threads=1, absolute=True)]


PARTS: dict[str, Callable[[Options], list[Line]]] = {
    "Training step": train_step.BENCHMARK.measure,
    "Inference": inference.BENCHMARK.measure,
    "Finetuning step": classify_step.BENCHMARK.measure,
    "Generation": generate.BENCHMARK.measure,
    "Finetuning for classification": measure_finetuning,
    "Engine": measure_engine,
    "Cold start": cold_start.measure,
    "Loading a model": load.BENCHMARK.measure,
    "How cost grows": scaling.measure,
}


def measure_part(part: Callable[[Options], list[Line]], options: Options) -> dict[str, Any]:
    """The lines of a part, and how busy the machine was meanwhile."""
    watch = Watch()
    return {"lines": [asdict(line) for line in part(options)], "busy": watch.told()}


def measure(options: Options, results: Results) -> tuple[list[Line], list[str]]:
    """The lines of all parts, each part under a line with its name, and the names of the parts that failed.

    The lines of a part are kept, and on stderr, as soon as it is done; one that fails, for want of a data set or a
    package, keeps none of the others from being measured, and is tried again by the next start.
    """
    lines, failed = [], []
    settings = {"kind": kind(), "threads": list(options.threads), "blocks": options.blocks, "tiny": options.tiny}
    for title, part in PARTS.items():
        try:
            found = results.get(lambda part=part: measure_part(part, options), part=title, **settings)
        except (Exception, SystemExit) as error:
            failed.append(title)
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            measured = [Line(f"**{title}**"), Line(f"not measured: {reason}")]
        else:
            measured = [Line(f"**{title}** ({found['busy']})"), *(Line(**line) for line in found["lines"])]
        lines += measured
        print(lines_table(measured), file=sys.stderr, flush=True)
    return lines, failed


def main() -> None:
    new = REPOSITORY / "runs" / f"goals-{time.strftime('%Y%m%d-%H%M%S')}"
    options, arguments = command_line(__doc__, blocks=5, quick=True, out={
        "type": Path, "default": new, "help": "folder in which figures are kept (default: a new one in runs/)"})
    lines, failed = measure(options, Results(arguments.out))
    goals = [line for line in lines if line.goal is not None]
    finish("Goals", __file__, [
        lines_table(lines),
        f"{sum(line.met for line in goals)} of {len(goals)} goals are met. Beside: torch eager with SDPA, or what the "
        f"line names. Medians of {options.blocks} blocks that take turns, and of the ratios of neighbouring blocks; "
        "the sections below and their scripts say what is measured. Of the finetuning only a few texts are taken here, "
        "one run of each side."], arguments)
    if failed:
        sys.exit(f"not measured: {', '.join(failed)}; the others are kept, and --out {arguments.out} goes on")


if __name__ == "__main__":
    main()
