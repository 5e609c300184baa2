"""Every goal of this project about time and memory, in one table: ours, torch, ratio, goal, limit.

    python -m benchmarks.all [--threads N] [--write]

Each line is measured as its script does it, ours and torch in processes of their own that take turns, but only with as
many threads as the machine has cores, where the script would try several. Under 20 minutes on two cores. --write puts
the table into docs/benchmarks.md; the sections below it come from the scripts themselves.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import classify_step
import cold_start
import engine
import finetune_spam
import generate
import inference
import load
import scaling
import train_step
from common import Line, Options, command_line, finish, lines_table, median, take_turns

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
    return [Line("MLP of 16 inputs, 32 rows: forward and backward", "µs", median(ours), median(torch), ratio, goal=0.3,
                 threads=1),
            Line(f"an op, forward and backward, beyond its arithmetic; the worst: {worst[0]}", "µs", float(worst[-1]),
                 goal=6, threads=1, absolute=True)]


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


def measure(options: Options) -> tuple[list[Line], list[str]]:
    """The lines of all parts, each part under a line with its name, and the names of the parts that failed.

    The lines of a part are on stderr as soon as it is done; one that fails, for want of a data set or a package, keeps
    none of the others from being measured.
    """
    lines, failed = [], []
    for title, part in PARTS.items():
        started = time.monotonic()
        try:
            measured = part(options)
        except (Exception, SystemExit) as error:
            failed.append(title)
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            measured = [Line(f"not measured: {reason}")]
        lines += [Line(f"**{title}**"), *measured]
        print(f"{title}: {(time.monotonic() - started) / 60:.1f} min\n{lines_table(measured)}", file=sys.stderr,
              flush=True)
    return lines, failed


def main() -> None:
    options, arguments = command_line(__doc__, blocks=5, quick=True)
    started = time.monotonic()
    lines, failed = measure(options)
    minutes = (time.monotonic() - started) / 60
    goals = [line for line in lines if line.goal is not None]
    finish("Goals", __file__, [
        lines_table(lines),
        f"{sum(line.met for line in goals)} of {len(goals)} goals are met. Beside: torch eager with SDPA, or what the "
        f"line names. Medians of {options.blocks} blocks that take turns, and of the ratios of neighbouring blocks; "
        "the sections below and their scripts say what is measured. Of the finetuning only a few texts are taken here, "
        f"one run of each side. Measured in {minutes:.0f} minutes."], arguments)
    if failed:
        sys.exit(f"not measured: {', '.join(failed)}")


if __name__ == "__main__":
    main()
