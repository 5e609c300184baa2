"""How long a user waits for the first answer, beside what a bare Python and an `import torch` cost.

    python benchmarks/cold_start.py [--write]

Whole processes, which take turns. The first round is not counted: it brings the files into memory, and compiles ours.
"""

import subprocess
import sys
import time
from importlib.util import find_spec

from common import REPOSITORY, Line, Options, command_line, environment, finish, lines_table, median

PYTHON, TORCH = "python -c pass", "import torch"
COMMANDS = {
    PYTHON: ["-c", "pass"],
    TORCH: ["-c", "import torch"],
    'classify "text"': ["cli.py", "classify", "--model", "sms-spam", "You have won a prize, call now"],
    "--help": ["cli.py", "--help"],
}
GOALS = {'classify "text"': 0.4}  # seconds


def measure(options: Options) -> list[Line]:
    """A line for each of our commands, beside `import torch`; the limit is a Python that does nothing."""
    commands = {name: args for name, args in COMMANDS.items() if name != TORCH or find_spec("torch")}
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(1 + options.blocks):
        for name, args in commands.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *args], cwd=REPOSITORY, env=environment(options.threads[-1]),
                           stdout=subprocess.DEVNULL, check=True)
            seconds[name].append(time.perf_counter() - started)
    counted = {name: values[1:] for name, values in seconds.items()}
    rival = counted.get(TORCH)
    return [Line(f"`cli.py {name}`", "s", median(values), median(rival) if rival else None,
                 median(a / b for a, b in zip(values, rival, strict=True)) if rival else None,
                 median(counted[PYTHON]), GOALS.get(name), options.threads[-1], absolute=True)
            for name, values in counted.items() if name not in (PYTHON, TORCH)]


def main() -> None:
    options, arguments = command_line(__doc__)
    finish("Cold start", __file__, [
        lines_table(measure(options)),
        f"Whole processes, from the start to the end, medians of {options.blocks} that take turns; beside "
        '`python -c "import torch"`. Limit: `python -c pass`.'], arguments)


if __name__ == "__main__":
    main()
