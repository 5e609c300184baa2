"""The lessons of `course/`: their cells, and the output that each quotes.

A lesson is a Python file with cells (`# %%` code, `# %% [markdown]` text), which Jupyter opens by jupytext. A cell
that prints ends with what it prints, line by line:

    # prints:
    #   3.0

`python tests/helpers/lessons.py course/*.py` runs lessons and writes these comments anew.
"""

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

__all__ = ["COURSE", "LESSONS", "cells", "decimals", "quoted"]

COURSE = Path(__file__).resolve().parents[2] / "course"
LESSONS = sorted(COURSE.glob("[0-9]*.py"))

OUTPUT = re.compile(r"\n*^# prints:\n((?:^#(?:   .*)?\n)*)", re.MULTILINE)


def cells(source: str) -> list[tuple[str, str]]:
    """Pairs ("code" or "markdown", text) of a lesson's cells; the text of a markdown cell is without its `# `."""
    found = re.findall(r"^# %%( \[markdown\])?\n(.*?)(?=^# %%|\Z)", source, re.MULTILINE | re.DOTALL)
    return [("markdown", re.sub(r"^# ?", "", text, flags=re.MULTILINE)) if kind else ("code", text)
            for kind, text in found]


def quoted(code: str) -> str:
    """The output that cells quote."""
    lines = [line for block in OUTPUT.findall(code) for line in block.splitlines()]
    return "".join(f"{line[4:]}\n" for line in lines)


def decimals(text: str) -> set[str]:
    """Numbers with a decimal point in a text; not those in code, and not the numbers of sections and exercises."""
    number = r"\d\.\d(?:\.\d)?"
    others = rf"`[^`]*`|(?:[Ss]ections?|exercise) {number}(?:(?:, | and | to ){number})*|\({number}|arXiv:[\d.]+"
    prose = re.sub(others, "", " ".join(text.split()))
    return set(re.findall(r"(?<![\w.])\d[\d,]*\.\d+(?:e-?\d+)?", prose))


def write_outputs(path: Path) -> None:
    """Run a lesson cell by cell, and put what each cell prints at its end."""
    source, namespace = path.read_text(encoding="utf-8"), {"__name__": "__main__"}
    parts = re.split(r"(?=^# %%)", source, flags=re.MULTILINE)
    for i, part in enumerate(parts):
        if part.startswith("# %%\n"):
            code, out = OUTPUT.sub("\n", part).rstrip() + "\n", io.StringIO()
            before = "\n" * sum(p.count("\n") for p in parts[:i])
            with contextlib.redirect_stdout(out):
                exec(compile(before + code, path, "exec"), namespace)
            lines = [f"#   {line}".rstrip() for line in out.getvalue().splitlines()]
            ends = "\n".join(["\n# prints:", *lines, ""]) if lines else ""
            parts[i] = code + ends + "\n" * (i < len(parts) - 1)
    path.write_text("".join(parts), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) == 2:
        write_outputs(Path(sys.argv[1]))
    else:  # each in a process of its own
        for name in sys.argv[1:]:
            subprocess.run([sys.executable, "-W", "error", __file__, name], check=True)
