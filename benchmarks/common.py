"""What the benchmarks share: the machine in one line, medians, tables, and their place in docs/benchmarks.md."""

import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

__all__ = ["machine", "median", "peak_mib", "table", "take_turns", "write_section"]

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
HEADER = "# Benchmarks\n\nEach section is written by the script it names, run with `--write`.\n"


def machine() -> str:
    """The machine, the versions that matter and the date, in one line."""
    return (f"{_processor()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, "
            f"NumPy {version('numpy')}; {datetime.date.today().isoformat()}")


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    return named[1].strip() if named else platform.processor() or platform.machine()


def peak_mib() -> float:
    """The most memory that this process has held, in MiB; Linux alone tells it without that of the parent."""
    return int(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024


def take_turns(script: str, arguments: dict[str, Sequence[str]], blocks: int, threads: int) -> dict[str, list]:
    """Let processes of one script measure a block each in turn, so that a busy moment of the machine hits all alike.

    Args:
        script: run as `script --worker ARGUMENTS`; for each line on stdin it prints the figures of a block as JSON.
        arguments: of each process, by its name.
        blocks: of each process.
        threads: of the matrix products.

    Returns:
        The figures of each process, a list of blocks.
    """
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
