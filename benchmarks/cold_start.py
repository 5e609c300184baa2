"""How long a user waits for the first answer, beside what a bare Python and an `import torch` cost.

    python benchmarks/cold_start.py [--model PATH] [--runs N] [--write]

The commands take turns, so that a busy moment of the machine meets all of them. The first round is not counted: it
brings the files into memory.
"""

import argparse
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from common import machine, median, table, write_section

REPOSITORY = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="sms-spam", help="classifier to use")
    parser.add_argument("--runs", type=int, default=7, help="at least 5")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    settings = parser.parse_args()
    commands = {
        "`python -c pass`": ["-c", "pass"],
        "`cli.py --help`": ["cli.py", "--help"],
        '`cli.py classify "text"`': ["cli.py", "classify", "--model", settings.model, "You have won a prize, call now"],
    }
    if find_spec("torch"):
        commands['`python -c "import torch"`'] = ["-c", "import torch"]
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(1 + max(5, settings.runs)):
        for name, args in commands.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *args], cwd=REPOSITORY, stdout=subprocess.DEVNULL, check=True)
            seconds[name].append(time.perf_counter() - started)
    medians = {name: median(values[1:]) for name, values in seconds.items()}
    answer = medians['`cli.py classify "text"`']
    markdown = "\n\n".join([
        f"Whole processes, median of {len(seconds['`cli.py --help`']) - 1}, taking turns "
        "(`benchmarks/cold_start.py`).",
        table(("command", "seconds", "against classify"),
              [(name, f"{value:.3f}", f"{value / answer:.2f}") for name, value in medians.items()]),
        machine(),
    ])
    print(markdown)
    if settings.write:
        write_section("Cold start", markdown)


if __name__ == "__main__":
    main()
