"""What the benchmarks share: cases, processes that take turns, tables, and their place in docs/benchmarks.md.

A benchmark names its workers, functions that set something up and return the block of work to be timed. Each worker
runs in a process of its own; the processes run a block each in turn, so that a busy moment of the machine hits all.
"""

import argparse
import datetime
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = [
    "Against", "Benchmark", "Case", "GPT2_124M", "Line", "Options", "add_options", "finish", "lines_table", "machine",
    "machine_threads", "median", "peak_mib", "read_options", "table", "take_turns", "tiny", "tokens", "write_section",
]

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs" / "benchmarks.md"
HEADER = "# Benchmarks\n\nEach section is written by the script it names, run with `--write`.\n"
GPT2_124M = {"vocab_size": 50257, "n_layer": 12, "n_head": 12, "n_embd": 768}
TINY = {"vocab_size": 96, "n_layer": 2, "n_head": 2, "n_embd": 32, "batch": 2, "length": 16, "steps": 2,
        "prompt": 8, "new": 2}

sys.path[1:1] = [str(REPOSITORY), str(REPOSITORY / "benchmarks")]  # a worker starts anywhere


def machine_threads() -> int:
    """Threads of the matrix products where nobody asks for another number: as many as this process may use cores."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
        every_thread: measure it with each number of threads in a quick run, too.
        in_quick: measure it in a quick run at all.
    """

    name: str
    settings: Mapping[str, Any]
    against: tuple[Against, ...]
    every_thread: bool = False
    in_quick: bool = True


@dataclass(frozen=True)
class Line:
    """A line of the tables: medians of ours and of what it is compared with, and the median ratio of neighbours."""

    work: str
    unit: str
    ours: float
    rival: float | None = None
    ratio: float | None = None
    limit: float | None = None
    goal: str = ""
    threads: int | None = None


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
        fresh: is each block run in a new process, without a block before it that warms up?
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
        wanted = [name for against in case.against for name in (against.of, against.rival)]
        names = [name for name in dict.fromkeys([*wanted, "limit"])
                 if name in self.workers and ("torch" not in name or find_spec("torch"))]
        settings = json.dumps(tiny(case.settings) if options.tiny else dict(case.settings))
        figures = take_turns(self.script, {name: (name, settings) for name in names}, options.blocks, threads,
                             fresh=self.fresh)
        lines = []
        for against in case.against:
            ours, rival = ([block[against.figure] for block in figures.get(name, ())]
                           for name in (against.of, against.rival))
            limit = [block["ms"] for block in figures.get("limit", ())] if against.figure == "ms" else None
            lines.append(Line(
                f"{case.name}{against.note and f': {against.note}'}", "ms" if against.figure == "ms" else "MiB",
                median(ours), median(rival) if rival else None,
                median(a / b for a, b in zip(ours, rival, strict=True)) if rival else None,
                median(limit) if limit else None,
                "" if against.goal is None else f"{against.goal:.2f}", threads))
        return lines

    def main(self) -> None:
        """Measure and print the table, or be one of the workers."""
        parser = argparse.ArgumentParser(description=self.title)
        add_options(parser)
        parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
        arguments = parser.parse_args()
        if arguments.worker:
            self._work(arguments.worker[0], json.loads(arguments.worker[1]))
            return
        options = read_options(arguments)
        text = "\n\n".join([f"`benchmarks/{Path(self.script).name}`, {machine()}", lines_table(self.measure(options)),
                            f"{self.note} Medians of {options.blocks} blocks of each, which take turns, and of the "
                            "ratios of neighbouring blocks; MiB is the peak of the whole process."])
        finish(self.title, text, arguments)

    def _work(self, name: str, settings: dict[str, Any]) -> None:
        """Run a block for each line on stdin, and print its figures as a line of JSON."""
        block = self.workers[name](**settings)
        if not self.fresh:
            block()
        for _ in sys.stdin:
            started = time.perf_counter()
            times = block() or 1
            print(json.dumps({"ms": 1000 * (time.perf_counter() - started) / times, "mib": _status_mib("VmHWM"),
                              "own_mib": _status_mib("RssAnon")}), flush=True)


def tiny(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings with small sizes."""
    return {name: min(value, TINY[name]) if name in TINY else value for name, value in settings.items()}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of every benchmark."""
    parser.add_argument("--threads", type=int, nargs="+", help="of the matrix products (default: 1, and all cores)")
    parser.add_argument("--blocks", type=int, help="how often each is measured (default: 7)")
    parser.add_argument("--tiny", action="store_true", help="small sizes and two blocks: does it run?")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")


def read_options(arguments: argparse.Namespace, blocks: int = 7, quick: bool = False) -> Options:
    """What `add_options` has read; ``blocks`` is the default."""
    threads = arguments.threads or ([1] if arguments.tiny else sorted({1, machine_threads()}))
    return Options(tuple(threads), arguments.blocks or (2 if arguments.tiny else blocks), quick, arguments.tiny)


def finish(title: str, text: str, arguments: argparse.Namespace) -> None:
    """Print a section, and put it into docs/benchmarks.md if that was asked for."""
    print(text)
    if arguments.write and not arguments.tiny:
        write_section(title, text)


def machine() -> str:
    """The machine, the versions that matter and the date, in one line."""
    return (f"{_processor()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, "
            f"NumPy {version('numpy')}; {datetime.date.today().isoformat()}")


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    return named[1].strip() if named else platform.processor() or platform.machine()


def peak_mib() -> float:
    """The most memory that this process has held, in MiB; Linux alone tells it without that of the parent, else NaN."""
    return _status_mib("VmHWM")


def _status_mib(name: str) -> float:
    """A figure about the memory of this process, in MiB; NaN where the system is not Linux."""
    status = Path("/proc/self/status")
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
    limits = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    workers = {name: subprocess.Popen([sys.executable, script, "--worker", *rest], text=True, stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, env=os.environ | limits)
               for name, rest in arguments.items()}
    figures: dict[str, list] = {name: [] for name in workers}
    for _ in range(blocks):
        for name, worker in workers.items():
            print(file=worker.stdin, flush=True)
            figures[name].append(json.loads(worker.stdout.readline()))
    for worker in workers.values():
        worker.communicate()
    return figures


def median(values: Iterable[float]) -> float:
    """The middle value: one slow run among five does not move it."""
    return statistics.median(values)


def figure(value: float | None) -> str:
    """A number with three digits that count, or nothing."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def lines_table(lines: Iterable[Line]) -> str:
    """The table of a benchmark."""
    return table(("work", "threads", "unit", "ours", "beside", "ratio", "goal", "limit"),
                 [(line.work, figure(line.threads), line.unit, figure(line.ours), figure(line.rival),
                   "" if line.ratio is None else f"{line.ratio:.2f}", line.goal and f"≤ {line.goal}",
                   figure(line.limit)) for line in lines])


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; every column but the first is aligned to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def write_section(title: str, markdown: str) -> None:
    """Put `markdown` under the heading `title` of docs/benchmarks.md, in place of what stood there."""
    page = PAGE.read_text(encoding="utf-8") if PAGE.exists() else HEADER
    sections = re.split(r"(?m)^(?=## )", page)
    new = f"## {title}\n\n{markdown.strip()}\n"
    known = [section.split("\n")[0] for section in sections]
    if f"## {title}" in known:
        at = known.index(f"## {title}")
        sections[at] = new
    else:
        sections.append(new)
    PAGE.write_text("\n".join(section.strip() + "\n" for section in sections), encoding="utf-8")
