"""A GPU that this package has not met: a checklist in the order of what can go wrong, and a report to send.

    python benchmarks/gpu.py --first [--out FOLDER]

At most 8 minutes. Each check is a process of its own with a limit of time, and what it printed is a file of the
folder; one that fails stops no other. The report is written anew after each. It says what to send of a failure, and
where to. --dry-run goes through the list without a GPU.
"""

import datetime
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import gpu_report
from common import REPOSITORY, table

TOTAL = 470.0  # seconds; writing the report takes the rest of 8 minutes
AGREEMENT = 1e-5  # the largest difference from NumPy in float32
WANTED = "an RTX 30 or 40, and a T4"  # cards that nobody has reported from
BENCHMARKS = Path(__file__).parent
COLORS = {"passed": "#4a9", "failed": "#c44", "out of time": "#e90", "not run": "#bbb"}


@dataclass(frozen=True)
class Check:
    """A line of the list.

    Args:
        name: of its log.
        what: what it tells.
        command: the process.
        limit: seconds.
        program: what must be installed for it, looked for in `PATH` and in CUDA's folder.
    """

    name: str
    what: str
    command: Sequence[str]
    limit: float
    program: str = ""


@dataclass
class Outcome:
    """What came of a check: one of `COLORS`, why, and where its output is."""

    name: str
    what: str
    status: str
    why: str
    seconds: float
    log: str


def checklist(out: Path, dry: bool) -> list[Check]:
    """The checks in their order; a dry run is there to be gone through, however slow the machine."""
    checks = [*_checks(out, dry)]
    return [replace(check, limit=5 * check.limit) for check in checks] if dry else checks


def _checks(out: Path, dry: bool) -> Iterator[Check]:
    on = "numpy" if dry else "cupy"

    def check(name: str, *before: str) -> list[str]:
        return [*before, sys.executable, str(BENCHMARKS / "first_checks.py"), name, *arguments]

    def benchmark(limit: float, *parts: str) -> list[str]:
        return [sys.executable, str(BENCHMARKS / "gpu.py"), "--parts", *parts, "--limit", str(limit), "--out",
                str(out / parts[0]), *["--dry-run"] * dry]

    arguments = [on, "tiny"] if dry else [on]
    sanitizer = ("compute-sanitizer", "--error-exitcode", "9", "--tool")
    yield from (
        Check("backend", "CuPy, driver and GPU work together", check("backend"), 30),
        Check("gradcheck", "the gradient of every op against central differences",
              [sys.executable, str(REPOSITORY / "cli.py"), "gradcheck", "--backend", on], 40),
        Check("agreement", "every op, the kernels at a model's sizes, and a whole model beside NumPy",
              benchmark(40, "agreement"), 50),
        Check("tests", "the tests that touch arrays", benchmark(65, "tests"), 80),
        Check("memcheck", "attention reads and writes no memory that is not its own",
              check("attention", *sanitizer, "memcheck"), 30, sanitizer[0]),
        Check("racecheck", "no two threads of attention use shared memory at the same time",
              check("attention", *sanitizer, "racecheck"), 30, sanitizer[0]),
        Check("repeated", "two equal steps give the same bits", check("repeated"), 25),
        Check("compiled", "a second process compiles nothing", check("compiled"), 35),
        Check("training", "speed and memory of training GPT-2 124M, and where a step goes",
              benchmark(160, "training", "profile"), 200),
        Check("launches", "what a launch costs", check("launches"), 10),
        Check("nsys", "every launch of a step, and the gaps between the kernels",
              check("step", "nsys", "profile", "--trace=cuda", "--stats=true", "--force-overwrite=true", "-o",
                    str(out / "step")), 20, "nsys"),
        Check("ncu", "what holds up the kernel of attention's gradient",
              check("step", "ncu", "--kernel-name", "regex:attend_grad_kv", "--launch-count", "1"), 20, "ncu"))


def run(check: Check, out: Path, left: float) -> Outcome:
    """Run a check for its limit or the seconds that are left, and write down what it prints."""
    log, started = f"{check.name}.log", time.monotonic()

    def outcome(status: str, why: str) -> Outcome:
        return Outcome(check.name, check.what, status, why, time.monotonic() - started, log)

    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/cuda/bin"])
    if check.program and not shutil.which(check.program, path=path):
        return outcome("not run", f"{check.program} is not installed; it comes with NVIDIA's CUDA toolkit")
    limit = min(check.limit, left)
    if limit <= 0:
        return outcome("not run", "the time is over")
    with (out / log).open("w", encoding="utf-8") as file:
        process = subprocess.Popen(check.command, stdout=file, stderr=subprocess.STDOUT, cwd=REPOSITORY,
                                   env=os.environ | {"PATH": path}, start_new_session=True)
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            return outcome("out of time", f"it had not ended after {limit:.0f} s")
        finally:
            _end(process)
    why = f"exit code {code}" if code else complaint(check.name, _found(out / check.name / "gpu.json"))
    return outcome("failed" if why else "passed", why)


def complaint(part: str, found: dict[str, Any] | None) -> str:
    """What is wrong with the figures of a part of gpu.py; nothing if all is well, or if it is no part."""
    if found is None:
        return ""
    figures = found.get(part, {"error": "nothing was measured"})
    if "error" in figures:
        return figures["error"].strip().splitlines()[-1]
    if part == "tests":
        failed = figures["failed"] + figures["errors"]
        return f"{failed} tests failed" if failed else "" if figures["passed"] else "no test passed"
    if part == "agreement":
        ops = figures["ops"]
        far = [name for name, error in ops.get("worst", {}).items() if error > AGREEMENT]
        wrong = [name for name in ("ops", "kernels", "model") if "error" in figures[name]]
        bad = ", ".join(dict.fromkeys([*ops.get("failures", {}), *far, *wrong]))
        return f"not as on NumPy: {bad}" if bad else ""
    return "" if any(name.startswith("ours") for name in _speeds(found)) else "no step of ours was measured"


def _end(process: subprocess.Popen) -> None:
    """End a process and all that it has begun."""
    if process.poll() is None:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()


def missing(dry: bool) -> str:
    """Why there is no GPU to check, in one line; nothing if there is one."""
    done = subprocess.run(checklist(Path(), dry)[0].command, capture_output=True, text=True, check=False,
                          cwd=REPOSITORY, timeout=120)
    said = done.stderr.strip().splitlines()
    return said[-1] if done.returncode == 1 and said and said[-1].startswith("error: ") else ""


def go_through(checks: Iterable[Check], out: Path, about: str, total: float = TOTAL) -> list[Outcome]:
    """Run the checks one after the other; print each, and write the report after each."""
    out.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []
    started = time.monotonic()
    for number, check in enumerate(checks, start=1):
        outcomes.append(found := run(check, out, total - (time.monotonic() - started)))
        print(f"{number:>2} {check.name}: {found.status}{found.why and f', {found.why}'} ({found.seconds:.0f} s)")
        if found.status in ("failed", "out of time"):
            print(f"   {to_send(out, found)}")
        sys.stdout.flush()
        write_report(out, about, outcomes)
    return outcomes


def to_send(out: Path, found: Outcome) -> str:
    """Which file to send of a failure, and how."""
    files = f"{out / found.log}{f' and the folder {out / found.name}' * (out / found.name).is_dir()}"
    return f"please send us {files}: attach it to an issue of this project, with the first lines of report.md"


# -- the report


def write_report(out: Path, about: str, outcomes: list[Outcome]) -> None:
    """report.md, report.json and the pictures that there is something to show in."""
    (out / "report.json").write_text(json.dumps({"about": about, "checks": [asdict(each) for each in outcomes]},
                                                indent=1), encoding="utf-8")
    rows = [(f"{number} {each.name}", each.what, each.status, f"{each.seconds:.0f}")
            for number, each in enumerate(outcomes, start=1)]
    parts = ["# First checks on a GPU", about, table(("check", "what it tells", "result", "seconds"), rows)]
    parts += [_failure(out, each) for each in outcomes if each.status != "passed"]
    parts += ["![seconds of each check](checks.png)"]
    _draw(out / "checks.png", _draw_checks, outcomes)
    for part in ("agreement", "tests", "training"):
        found = _found(out / part / "gpu.json")
        if found is not None:
            parts += [f"## {part.capitalize()}", gpu_report.report(found)]
            if part == "training" and _speeds(found):
                _draw(out / "training.png", _draw_speeds, _speeds(found))
                parts += ["![tokens per second](training.png)"]
    parts += ["## What helps us", "All of this folder, also where nothing failed: attach "
              f"{out.name}.zip to an issue of this project. Nobody has reported from {WANTED} yet."]
    (out / "report.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _failure(out: Path, found: Outcome) -> str:
    """Why a check did not pass, the end of what it printed, and what to send."""
    text = f"**{found.name}: {found.status}**, {found.why}"
    if found.status == "not run":
        return f"{text}."
    last = (out / found.log).read_text(encoding="utf-8", errors="replace").strip().splitlines()[-12:]
    return "\n".join([f"{text}; {to_send(out, found)}.", "", "```", *last, "```"])


def _found(file: Path) -> dict[str, Any] | None:
    """What gpu.py found; None if it found nothing, or was ended while it wrote."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _speeds(found: dict[str, Any]) -> dict[str, float]:
    """Tokens a second of each variant and batch size."""
    training = found.get("training", {})
    return {f"{variant}, B {batch}": int(batch) * training["length"] / taken
            for batch, blocks in training.get("batches", {}).items() for variant, measured in blocks.items()
            if (taken := gpu_report.seconds(measured))}


def _draw_checks(axes: Any, outcomes: list[Outcome]) -> None:
    axes.barh([each.name for each in outcomes], [each.seconds for each in outcomes],
              color=[COLORS[each.status] for each in outcomes])
    axes.set(xlabel="seconds")
    for status, color in COLORS.items():
        axes.bar(0, 0, color=color, label=status)


def _draw_speeds(axes: Any, speeds: dict[str, float]) -> None:
    axes.barh(list(speeds), list(speeds.values()), color=["#27c" if name.startswith("ours") else "#999"
                                                         for name in speeds])
    axes.set(xlabel="tokens per second")
    axes.bar(0, 0, color="#27c", label="ours")
    axes.bar(0, 0, color="#999", label="torch")


def _draw(path: Path, draw: Any, what: Any) -> None:
    """A picture of bars, the first on top."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.2 + 0.3 * len(what)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    draw(axes, what)
    axes.invert_yaxis()
    axes.legend()
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=100)
    path.write_bytes(image.getvalue())


def main(out: Path, card: dict[str, str], dry: bool) -> int:
    """All checks; returns the exit code: 1 if there is no GPU or one of them failed, 130 if the user stopped them.

    Args:
        out: folder of the report.
        card: what nvidia-smi says, see `gpu.device`.
        dry: without a GPU.
    """
    if why := missing(dry):
        print(why, file=sys.stderr)
        return 1
    about = (f"{card['name']} {card['memory']}, driver {card['driver'] or 'none'}, Python {sys.version.split()[0]}; "
             f"{datetime.date.today().isoformat()}{'; a dry run without a GPU' * dry}")
    try:
        outcomes = go_through(checklist(out, dry), out, about, 5 * TOTAL if dry else TOTAL)
    except KeyboardInterrupt:
        print(f"error: stopped; what was found so far is in {out / 'report.md'}", file=sys.stderr)
        return 130
    archive = shutil.make_archive(str(out), "zip", out)
    bad = [each.name for each in outcomes if each.status in ("failed", "out of time")]
    print(f"\n{len(bad)} of {len(outcomes)} checks failed; the report is {out / 'report.md'}, and all of it, to send, "
          f"{archive}")
    return 1 if bad else 0
