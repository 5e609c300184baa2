"""A file of up to ten million rows: classified, killed in the middle, and gone on with.

    python benchmarks/long_file.py --data SMSSpamCollection [--rows 10000 1000000 10000000] [--write]

A row is a text of the data with its number behind it, so that no two are alike. `cli.py classify` reads the file with
an untrained GPT-2 of one narrow block: what is measured is all but the model. When half of the answers are written,
the process is killed; the same command with --resume writes the others. Then every answer is compared with its text.
--write puts the table into docs/data-files.md.
"""

import argparse
import csv
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from common import REPOSITORY, machine, status_mib, table, write_section

from tinygrad_gpt.data.classification import read_labelled
from tinygrad_gpt.models.classifier import GPT2Classifier
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.runs.saved_model import SavedModel, save_model
from tinygrad_gpt.text import Tokenizer

COLUMNS = ("rows", "MB", "rows a second", "peak memory, MiB", "after --resume, MiB", "lines when killed",
           "answers lost or wrong")


def numbered(texts: list[str], rows: int) -> Iterator[str]:
    """Texts in any order, each with its number behind it."""
    generator = np.random.default_rng(0)
    return (f"{texts[generator.integers(len(texts))]} {i}" for i in range(rows))


def write_model(path: Path, texts: list[str]) -> None:
    """A model that takes next to no time."""
    tokenizer = Tokenizer.train(texts[:200], 300)
    gpt = GPT2(GPT2Config(tokenizer.vocab_size, n_ctx=16, n_embd=8, n_layer=1, n_head=1))
    save_model(path, SavedModel(GPT2Classifier(gpt, 2).eval(), tokenizer, ("ham", "spam"), {}))


def classify(folder: Path, *more: str, until: int | None = None) -> tuple[float, float]:
    """Seconds and peak MiB of the command, which is killed when its part of the answers has ``until`` bytes."""
    command = [sys.executable, str(REPOSITORY / "cli.py"), "classify", "--file", str(folder / "texts.csv"), "--model",
               str(folder / "model.h5"), "--output", str(folder / "answers.csv"), "--threads", "1", *more]
    started, part, peak = time.perf_counter(), folder / "answers.csv.part", 0.0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, status_mib("VmHWM", process.pid))  # what wait4 tells counts the parent's memory, too
        if until and part.exists() and part.stat().st_size >= until:
            process.kill()
        time.sleep(0.01)
    if process.returncode != (-signal.SIGKILL if until else 0):
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    return time.perf_counter() - started, peak


def measure(texts: list[str], rows: int, folder: Path) -> tuple[str, ...]:
    """A row of the table."""
    with (folder / "texts.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text"])
        writer.writerows([text] for text in numbered(texts, rows))
    size = (folder / "texts.csv").stat().st_size
    first, before = classify(folder, until=size // 2)
    with (folder / "answers.csv.part").open("rb") as file:
        killed = sum(line.count(b"\n") for line in file)
    second, after = classify(folder, "--resume")
    with (folder / "answers.csv").open(encoding="utf-8", newline="") as file:
        answers = (row["text"] for row in csv.DictReader(file) if row["label"] in ("ham", "spam"))
        right = sum(a == b for a, b in zip(answers, numbered(texts, rows), strict=False))
    (folder / "answers.csv").unlink()
    return (f"{rows:,}", f"{size / 1e6:,.0f}", f"{rows / (first + second):,.0f}", f"{before:.1f}", f"{after:.1f}",
            f"{killed:,}", f"{rows - right:,}")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="labelled texts, of which the rows are made")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000, 10_000_000])
    parser.add_argument("--write", action="store_true", help="put the table into docs/")
    options = parser.parse_args(arguments)
    texts = read_labelled(options.data).texts
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder, "model.h5"), texts)
        rows = [measure(texts, count, Path(folder)) for count in options.rows]
        text = "\n\n".join([f"`benchmarks/long_file.py`, {machine()}", table(COLUMNS, rows),
                            "A CSV file, and an untrained GPT-2 of one narrow block in the place of a model."])
    print(text)
    if options.write:
        write_section("Ten million rows", text, REPOSITORY / "docs" / "data-files.md")


if __name__ == "__main__":
    main()
