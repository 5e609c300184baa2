"""What the benchmarks share: cases, processes that take turns, tables, and their place in docs/benchmarks.md.

A benchmark names its workers, functions that set something up and return the block of work to be timed. Each worker
runs in a process of its own; the processes run a block each in turn, so that a busy moment of the machine hits all.
"""

import argparse
import contextlib
import json
import math
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from host import AVX2_ONLY, kind, machine
from page import write_section

__all__ = [
    "GPT2_124M", "REPOSITORY", "Against", "Benchmark", "Case", "Line", "Options", "command_line", "environment",
    "finish", "kind", "lines_table", "machine", "median", "peak_mib", "short", "status_mib", "table", "take_turns",
    "thread_limits", "tiny", "tokens", "write_section",
]

REPOSITORY = Path(__file__).resolve().parents[1]
GPT2_124M = {"vocab_size": 50257, "n_layer": 12, "n_head": 12, "n_embd": 768}
TINY = {"vocab_size": 96, "n_layer": 2, "n_head": 2, "n_embd": 32, "batch": 2, "length": 16, "steps": 2,
        "prompt": 8, "new": 2}

sys.path[1:1] = [str(REPOSITORY), str(REPOSITORY / "benchmarks")]  # a worker starts anywhere


def machine_threads() -> int:
    """Threads of the matrix products by default: one for each core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def thread_limits(threads: int) -> dict[str, str]:
    """Environment variables that limit NumPy and torch to this many threads."""
    return dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))


def environment(threads: int) -> dict[str, str]:
    """Environment of a measured process: limited threads, and compiled Python files are kept, as pip keeps torch's."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return inherited | thread_limits(threads)


@dataclass(frozen=True)
class Options:
    """How thoroughly to measure.

    Args:
        threads: numbers of threads to measure with, the largest last.
        blocks: of each worker.
        quick: measure each case with the largest number of threads only, unless it says otherwise.
        tiny: sizes that show that everything runs, and measure nothing.
    """

    threads: tuple[int, ...]
    blocks: int = 5
    quick: bool = False
    tiny: bool = False


@dataclass(frozen=True)
class Against:
    """Two workers of a case to compare.

    Args:
        goal: ``of`` / ``rival`` is to be at most this; None: it is only told.
        rival, of: the workers.
        figure: of a block: "ms"; "mib", the peak memory; or "own_mib", what it held at the end without mapped files.
        note: what the comparison shows, if it is not the time beside torch's.
    """

    goal: float | None = None
    rival: str = "torch"
    of: str = "ours"
    figure: str = "ms"
    note: str = ""


@dataclass(frozen=True)
class Case:
    """One piece of work: its name, the settings of its workers, what to compare, and "limit" for a bound below.

    Args:
        every_thread: whether a quick run measures it with each number of threads as well.
        in_quick: whether a quick run measures it at all.
    """

    name: str
    settings: Mapping[str, Any]
    against: tuple[Against, ...]
    every_thread: bool = False
    in_quick: bool = True


@dataclass(frozen=True)
class Line:
    """A line of the tables: medians of ours and of what it is compared with, and the median ratio of neighbours.

    The goal is for the ratio, or with ``absolute`` for ours. A line with nothing but ``work`` is a heading.
    """

    work: str
    unit: str = ""
    ours: float | None = None
    rival: float | None = None
    ratio: float | None = None
    limit: float | None = None
    goal: float | None = None
    threads: int | None = None
    absolute: bool = False

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        value = self.ours if self.absolute else self.ratio
        return self.goal is not None and value is not None and value <= self.goal

    def cells(self) -> list[str]:
        """As a row of `lines_table`."""
        goal = "" if self.goal is None else f"≤ {self.goal:.3g}{f' {self.unit}' * self.absolute}"
        return [self.work, short(self.threads), self.unit, short(self.ours), short(self.rival),
                "" if self.ratio is None else f"{self.ratio:.2f}", goal, "yes" * self.met or "no" * bool(goal),
                short(self.limit)]


@dataclass(frozen=True)
class Benchmark:
    """A script of this folder.

    Args:
        title: heading of its section in docs/benchmarks.md.
        script: its path.
        workers: name -> function that takes a case's settings, sets up, and returns the block. A block returns how
            many times it did what is timed (None: once).
        cases: what to measure.
        note: what the reader of the table has to know.
        fresh: is each block run in a new process?
    """

    title: str
    script: str
    workers: Mapping[str, Callable[..., Callable[[], int | None]]]
    cases: Sequence[Case]
    note: str
    fresh: bool = False

    def measure(self, options: Options) -> list[Line]:
        """All lines of the table."""
        return [line for case in self.cases if case.in_quick or not options.quick
                for threads in (options.threads[-1:] if options.quick and not case.every_thread else options.threads)
                for line in self._compare(case, threads, options)]

    def _compare(self, case: Case, threads: int, options: Options) -> list[Line]:
        names = [name for against in case.against for name in (against.of, against.rival)] + ["limit"]
        figures = self.figures(names, tiny(case.settings) if options.tiny else case.settings, threads, options)
        lines = []
        for against in case.against:
            timed = against.figure == "ms"
            ours, rival, limit = ([block[against.figure] for block in figures.get(name, ())]
                                  for name in (against.of, against.rival, "limit" if timed else ""))
            if not timed and not self.fresh:  # the peak of a process only grows
                ours, rival = ours[-1:], rival[-1:]
            lines.append(Line(
                f"{case.name}{against.note and f': {against.note}'}", "ms" if timed else "MiB",
                median(ours), median(rival) if rival else None,
                median(a / b for a, b in zip(ours, rival, strict=True)) if rival else None,
                median(limit) if limit else None, against.goal, threads))
        return lines

    def figures(self, names: Iterable[str], settings: Mapping[str, Any], threads: int,
                options: Options) -> dict[str, list[dict[str, float]]]:
        """The figures of each block of the workers that there are: "ms", "mib" and "own_mib"."""
        there = [name for name in dict.fromkeys(names)
                 if name in self.workers and ("torch" not in name or find_spec("torch"))]
        return take_turns(self.script, {name: (name, json.dumps(dict(settings))) for name in there}, options.blocks,
                          threads, self.fresh)

    def main(self) -> None:
        """Measure and print the table, or be one of the workers."""
        options, arguments = command_line(self.title)
        if arguments.worker:
            self._work(arguments.worker[0], json.loads(arguments.worker[1]))
            return
        finish(self.title, self.script, [
            lines_table(self.measure(options)),
            f"{self.note} Medians of {options.blocks} blocks of each, which take turns, and of the ratios of "
            "neighbouring blocks; MiB is the peak of the whole process."], arguments)

    def _work(self, name: str, settings: dict[str, Any]) -> None:
        """Run a block for each line on stdin, and print its figures as a line of JSON."""
        block = self.workers[name](**settings)
        for _ in sys.stdin:
            started = time.perf_counter()
            times = block() or 1
            print(json.dumps({"ms": 1000 * (time.perf_counter() - started) / times, "mib": status_mib("VmHWM"),
                              "own_mib": status_mib("RssAnon")}), flush=True)


def tiny(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings with small sizes."""
    return {name: min(value, TINY[name]) if name in TINY else value for name, value in settings.items()}


def command_line(description: str | None, blocks: int = 7, quick: bool = False,
                 **more: Mapping[str, Any]) -> tuple[Options, argparse.Namespace]:
    """Read the options that every benchmark has; ``blocks`` is the default, ``more`` describes others by name."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--threads", type=int, nargs="+", help="of the matrix products (default: 1, and all cores)")
    parser.add_argument("--blocks", type=int, help=f"how often each is measured (default: {blocks})")
    parser.add_argument("--tiny", action="store_true", help="small sizes and two blocks: does it run?")
    parser.add_argument("--write", action="store_true", help="put the table into docs/")
    parser.add_argument("--avx2", action="store_true", help="without AVX-512, as on a processor that lacks it")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    for name, how in more.items():
        parser.add_argument(f"--{name}", **how)
    arguments = parser.parse_args()
    if arguments.avx2 and not AVX2_ONLY.items() <= os.environ.items():  # which libraries read when they are loaded
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | AVX2_ONLY)
    threads = arguments.threads or ([1] if arguments.tiny else sorted({1, machine_threads()}))
    options = Options(tuple(threads), arguments.blocks or (2 if arguments.tiny else blocks), quick, arguments.tiny)
    arguments.write = arguments.write and not arguments.tiny
    return options, arguments


def finish(title: str, script: str, parts: Iterable[str], arguments: argparse.Namespace) -> None:
    """Print a section, and put it into docs/benchmarks.md if that was asked for."""
    text = "\n\n".join([f"`benchmarks/{Path(script).name}`, {machine()}", *parts])
    print(text)
    if arguments.write:
        write_section(title, text, of=kind())


def peak_mib() -> float:
    """The most memory that this process has held, in MiB; Linux alone tells it without that of the parent, else NaN."""
    return status_mib("VmHWM")


def status_mib(name: str, process: int | str = "self") -> float:
    """A figure about the memory of a process that runs, in MiB; NaN of one that has ended, or if this is not Linux."""
    status = Path(f"/proc/{process}/status")
    found = re.search(rf"{name}:\s*(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) / 1024 if found else math.nan


def tokens(vocab_size: int, *shape: int):
    """Random token ids."""
    import numpy as np

    return np.random.default_rng(0).integers(0, vocab_size, shape)


def take_turns(script: str, arguments: dict[str, Sequence[str]], blocks: int, threads: int,
               fresh: bool = False) -> dict[str, list]:
    """Let processes of one script measure a block each in turn, so that a busy moment of the machine hits all alike.

    Args:
        script: run as `script --worker ARGUMENTS`; for each line on stdin it prints the figures of a block as JSON.
        arguments: of each process, by its name.
        blocks: of each process.
        threads: of the matrix products.
        fresh: is each block run in a new process?

    Returns:
        The figures of each process, a list of blocks.
    """
    if fresh:
        rounds = [{name: take_turns(script, {name: rest}, 1, threads)[name][0] for name, rest in arguments.items()}
                  for _ in range(blocks)]
        return {name: [figures[name] for figures in rounds] for name in arguments}
    workers = {name: subprocess.Popen([sys.executable, script, "--worker", *rest], text=True, stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, env=environment(threads))
               for name, rest in arguments.items()}
    figures: dict[str, list] = {name: [] for name in workers}
    try:
        for _ in range(blocks):
            for name, worker in workers.items():
                figures[name].append(_block(worker, f"{Path(script).name}: the process {name!r}"))
    finally:
        for worker in workers.values():
            worker.kill()  # it waits for a line, or is not needed any more
            worker.communicate()
    return figures


def _block(worker: subprocess.Popen, name: str) -> Any:
    with contextlib.suppress(BrokenPipeError):
        print(file=worker.stdin, flush=True)
    line = worker.stdout.readline()
    if not line:
        raise RuntimeError(f"{name} ended with exit code {worker.wait()}; its messages are above")
    return json.loads(line)


def median(values: Iterable[float]) -> float:
    """The middle value: one slow run among five hardly moves it, so that the first needs no other to warm up."""
    return statistics.median(values)


def short(value: float | None) -> str:
    """A number with three digits that count, or nothing."""
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def lines_table(lines: Iterable[Line]) -> str:
    """The table of a benchmark."""
    return table(("work", "threads", "unit", "ours", "beside", "ratio", "goal", "met", "limit"),
                 [line.cells() for line in lines])


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; every column but the first is aligned to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))
