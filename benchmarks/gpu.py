"""What only a GPU can tell: whether CuPy computes the right values, and its speed beside torch on the same GPU.

    python benchmarks/gpu.py [--parts tests training …] [--out FOLDER] [--write]
    python benchmarks/gpu.py --first   # on a GPU for the first time: a checklist, and what to send; see first_hour.py

Under 8 minutes on an H200. The parts run in the order of their importance, each for its share of the time at most;
after each, all results so far are written to FOLDER/gpu.json and FOLDER/gpu.md, so that a run that is cut short loses
none of them. Ours and torch work in processes of their own that take turns, a block each; a block begins with
a step that is not timed, and ends when the device has done its work. --dry-run does all of it at tiny sizes, on the
tests' stand-in for CuPy and on torch's CPU: it shows that everything runs and measures nothing.
"""

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import finetune_spam
import first_hour
import gpu_report
import numpy as np
from common import GPT2_124M, REPOSITORY, write_section
from gpu_sides import Side

TITLE = "On a GPU"
ROUNDS = 5  # of each block
LIMIT = 470.0  # seconds in all
OUT = REPOSITORY / "runs" / "gpu"
TINY = {"vocab_size": 96, "n_layer": 2, "n_head": 2, "n_embd": 32}
CUDNN = "ours, cuDNN"
VARIANTS = [  # side, precision
    *(("ours", precision) for precision in ("float32", "tf32", "bfloat16")), ("book", "float32"), ("book", "tf32"),
    *(("sdpa", precision) for precision in ("float32", "tf32", "bfloat16")), ("compiled", "bfloat16"),
    *[(CUDNN, "bfloat16")] * (find_spec("cudnn") is not None)]
RIVALS = ("book", "sdpa", "compiled")  # torch, written as in the book; with SDPA; and that compiled: a process each
TESTS = [  # run at the same time, a process each
    ["tests/ops/test_sweep.py"], ["tests/backend", "tests/engine", "tests/optim"],
    ["tests/nn", "tests/models", "tests/generate"], ["tests/recipes", "tests/train", "tests/test_estimator.py"]]
# Tokens of the book's spam texts at every twentieth quantile, for texts of the same lengths where the data is not here.
LENGTHS = [2, 7, 8, 10, 11, 13, 16, 19, 23, 28, 32, 35, 38, 40, 42, 45, 47, 49, 51, 56, 120]


@dataclass
class Run:
    """One run of this script: its settings, its processes, and what it has found, by part."""

    dry: bool
    out: Path
    backend: str
    sizes: dict[str, int]
    sides: dict[str, Side]
    found: dict[str, Any] = field(default_factory=dict)
    until: float = 0.0  # when the part has used its time

    @property
    def rounds(self) -> int:
        """How often each block is measured."""
        return 1 if self.dry else ROUNDS

    @property
    def left(self) -> float:
        """Seconds of the part."""
        return self.until - time.monotonic()

    def keep(self) -> None:
        """Write down all that was found so far."""
        (self.out / "gpu.json").write_text(json.dumps(self.found, indent=1))

    def ask(self, side: str, **request: Any) -> dict[str, Any]:
        """What a side found; what went wrong is printed. A process that has just begun may be a minute late."""
        answer = self.sides[side].ask(max(self.left, 0) + 60, **request)
        if "error" in answer:
            print(f"{side}: {request}\n{answer['error']}", flush=True)
        return answer


def tests(run: Run) -> dict[str, Any]:
    """The tests that take a backend; each process is interrupted when the time is up, and says what it got to."""
    groups = [["tests/nn/test_utils.py"]] if run.dry else TESTS
    only = "strict" if run.dry else run.backend
    named = [] if run.dry else ["--backend", run.backend]
    running = []
    for number, group in enumerate(groups, start=1):
        log = run.out / f"tests-{number}.log"
        there = [path for path in group if (REPOSITORY / path).exists()]
        with log.open("w") as file:
            command = [sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=short", "-p", "no:cacheprovider", "-k", only]
            running.append((log, subprocess.Popen([*command, *named, *there], stdout=file, stderr=subprocess.STDOUT,
                                                  cwd=REPOSITORY)))
    counts = {"passed": 0, "failed": 0, "errors": 0, "skipped": 0, "interrupted": 0}
    for log, process in running:
        try:
            process.wait(max(run.left, 1))
        except subprocess.TimeoutExpired:
            counts["interrupted"] += 1
            _interrupt(process)
        text = log.read_text(errors="replace")
        for number, what in re.findall(r"(\d+) (passed|failed|error|skipped)", "".join(text.splitlines()[-1:])):
            counts["errors" if what == "error" else what] += int(number)
        if process.returncode not in (0, 5):  # 5: none of the tests takes a backend
            print(text, flush=True)
    return counts


def _interrupt(process: subprocess.Popen) -> None:
    """As Ctrl-C: pytest then prints the failures so far."""
    process.send_signal(2)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def agreement(run: Run) -> dict[str, Any]:
    """Every op and a whole model beside NumPy in float32; the kernels at a model's sizes in each precision."""
    sizes = {"texts": 2, "length": 9, "width": 8, "n_head": 2, "vocab_size": 20} if run.dry else {
        "texts": 2, "length": 333, "width": 768, "n_head": 12, "vocab_size": 5003}
    return {"ops": run.ask("ours", work="ops"), "kernels": run.ask("ours", work="at_size", **sizes),
            "model": run.ask("ours", work="whole_model", batch=1, length=16 if run.dry else 256, **run.sizes)}


def training(run: Run) -> dict[str, Any]:
    """A training step of each variant at both batch sizes, in turns."""
    length, found = 16 if run.dry else 1024, {}
    run.found["training"] = {"length": length, "batches": found, "took": 0.0}  # so that it is kept as it grows
    batches = (2,) if run.dry else (8, 16)  # the larger may not fit into the memory
    started, share = time.monotonic(), run.left / len(batches)
    for number, batch in enumerate(batches, start=1):
        blocks: dict[str, list[dict[str, Any]]] = {}
        found[str(batch)] = blocks
        broken = set()
        for turn in range(run.rounds):
            if turn and time.monotonic() - started > number * share:
                break
            for side, precision in VARIANTS:
                name = f"torch {side} {precision}" if side in RIVALS else f"{side} {precision}"
                more = {"written": side} if side in RIVALS else {"attention": "cudnn"} if side == CUDNN else {}
                side = "ours" if side == CUDNN else side
                if side not in run.sides or name in broken:
                    continue
                answer = run.ask(side, work="train", batch=batch, length=length, steps=3, precision=precision,
                                 **more, **run.sizes)
                if "error" in answer:
                    broken.add(name)
                blocks.setdefault(name, []).append(answer)
                run.keep()
    return run.found["training"]


def decoding(run: Run) -> dict[str, Any]:
    """One token more of 1 and of 32 texts, with the cache, in turns."""
    found: dict[str, Any] = {}
    for batch in (1, 2 if run.dry else 32):
        blocks: dict[str, list[dict[str, Any]]] = {}
        for _ in range(run.rounds):
            for side in ("ours", "sdpa"):
                if side in run.sides:
                    blocks.setdefault(side, []).append(run.ask(
                        side, work="decode", batch=batch, prompt=8 if run.dry else 64, new=3 if run.dry else 64,
                        precision="float32", **run.sizes))
        found[str(batch)] = blocks
    return found


def finetuning(run: Run) -> dict[str, Any]:
    """The book's procedure from end to end, once on each side, then in the other precisions while there is time."""
    task = run.out / "task.npz"
    found: dict[str, Any] = {"texts": _write_task(task, run.dry), "runs": []}
    sizes = {name: size for name, size in run.sizes.items() if name != "vocab_size"}
    for precision in ("float32",) if run.dry else ("float32", "tf32", "bfloat16"):
        for trained in ("last-block", "all"):
            for side in ("ours", "book"):
                if side in run.sides and (precision == "float32" or run.left > 0):
                    how = {"trained": trained, "precision": precision}
                    found["runs"].append({"side": side} | how | run.ask(side, work="finetune", task=str(task), **how,
                                                                        **sizes))
    return found


def _write_task(file: Path, dry: bool) -> str:
    """The book's split of the spam texts, or random texts of similar lengths; returns which of the two."""
    shared = Path(os.environ.get("TINYGRAD_GPT_DATA", REPOSITORY.parent / "shared" / "data"))
    epochs, train = (1, 8) if dry else (5, 1045)
    if (shared / "spam" / "SMSSpamCollection").exists() and (shared / "gpt2").exists() and not dry:
        finetune_spam.write_task(file, epochs, train)
        return "the book's split of the SMS Spam Collection"
    from tinygrad_gpt.book.batches import book_batches
    from tinygrad_gpt.data.batches import pad

    r = np.random.default_rng(0)
    parts = [train, 8, 8] if dry else [1045, 149, 300]
    lengths = np.interp(r.random(sum(parts)), np.linspace(0, 1, len(LENGTHS)), LENGTHS).astype(int)
    labels = r.integers(0, 2, len(lengths))
    texts = [r.integers(100 + 20_000 * label, 20_000 * (1 + label), length).tolist()
             for label, length in zip(labels, lengths, strict=True)]
    ids, real = pad(texts, 50256, int(lengths[:train].max() if dry else 120))
    np.savez(file, ids=ids, lengths=real, labels=labels, ends=np.cumsum(parts),
             order=book_batches(train, finetune_spam.BATCH, seed=finetune_spam.SEED, epochs=epochs))
    return "made-up texts of the lengths that the book's split of the SMS Spam Collection has"


def shipped(run: Run) -> dict[str, Any]:
    """The models in weights/."""
    return run.ask("ours", work="shipped", texts=4 if run.dry else 5000, new=2 if run.dry else 200)


def profile(run: Run) -> dict[str, Any]:
    """Where a step goes, op by op."""
    return {precision: run.ask("ours", work="profile", batch=2 if run.dry else 8, length=16 if run.dry else 1024,
                               precision=precision, **run.sizes) for precision in ("float32", "bfloat16")}


def row_10(run: Run) -> dict[str, Any]:
    """The reference's row 10, 124M from random weights, all layers trained: 100.00 / 96.64 / 93.67 %."""
    shared = Path(os.environ.get("TINYGRAD_GPT_DATA", REPOSITORY.parent / "shared" / "data"))
    data = shared / "spam" / "SMSSpamCollection"
    if run.dry or not data.exists():
        return {"error": f"the data is not here: {data}; set TINYGRAD_GPT_DATA"}
    started, folder = time.monotonic(), run.out / "row-10"
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "cli.py"), "experiments", "--data", str(data), "--vocabulary",
         str(shared / "gpt2"), "--rows", "10", "--backend", run.backend, "--resume", "--out", str(folder)],
        text=True, capture_output=True, check=False)
    print(done.stdout, done.stderr, flush=True)
    return {"seconds": time.monotonic() - started, "table": done.stdout} if done.returncode == 0 else {
        "error": done.stderr}


PARTS: dict[str, tuple[float, Callable[[Run], dict[str, Any]]]] = {  # seconds, function; the most important first
    "tests": (110, tests), "agreement": (40, agreement), "training": (130, training), "finetuning": (70, finetuning),
    "decoding": (30, decoding), "shipped": (20, shipped), "profile": (30, profile), "row-10": (300, row_10)}


def device() -> dict[str, str]:
    """What nvidia-smi says of the first GPU that this process may use."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    try:
        line = subprocess.run(["nvidia-smi", "-i", first, "--query-gpu=name,memory.total,driver_version",
                               "--format=csv,noheader"], text=True, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return {"name": "no GPU", "memory": "", "driver": ""}
    name, memory, driver = (cell.strip() for cell in line.splitlines()[0].split(","))
    return {"name": name, "memory": memory, "driver": driver}


def command_line() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, help="which, in this order (default: all but row-10)")
    parser.add_argument("--first", action="store_true", help="the checklist for a GPU that was never tried, instead")
    parser.add_argument("--row-10", action="store_true", help="also train row 10 of the experiments: minutes more")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for what is found")
    parser.add_argument("--limit", type=float, default=LIMIT, help=f"seconds, without row-10 (default: {LIMIT:.0f})")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes, without a GPU: does everything run?")
    parser.add_argument("--write", action="store_true", help=f"put the tables into docs/benchmarks.md, {TITLE!r}")
    arguments = parser.parse_args()
    arguments.parts = arguments.parts or [part for part in PARTS if part != "row-10"]
    if arguments.row_10 and "row-10" not in arguments.parts:
        arguments.parts.append("row-10")
    return arguments


def new_run(dry: bool, out: Path) -> Run:
    """The settings and the processes, of which none has begun."""
    backend = "strict" if dry else "cupy"
    sides = {"ours": Side("gpu_ours.py", backend)}
    if find_spec("torch"):
        sides |= {rival: Side("gpu_torch.py") for rival in RIVALS}
    out.mkdir(parents=True, exist_ok=True)
    return Run(dry, out, backend, TINY if dry else GPT2_124M, sides)


def measure(run: Run, parts: list[str], write: bool, limit: float = LIMIT) -> None:
    """All parts, while there is time; what is known is written after each."""
    started = time.monotonic()
    run.found["machine"] = {
        "dry": run.dry,
        "date": datetime.date.today().isoformat(), "Python": platform.python_version(), **device(),
        **{name: run.sides[name].ask(120, work="machine") for name in ("ours", "sdpa") if name in run.sides}}
    if "error" in run.found["machine"]["ours"]:
        raise SystemExit("nothing was measured; --dry-run shows without a GPU that everything runs")
    if "training" in parts and "compiled" in run.sides and not run.dry:  # compiling takes a minute: it begins now
        for batch in (8, 16):
            run.sides["compiled"].send(work="train", written="compiled", batch=batch, length=1024, steps=1,
                                       precision="bfloat16", **run.sizes)
    for part in parts:
        budget, function = PARTS[part]
        begun = time.monotonic()
        run.until = begun + budget if part == "row-10" else min(begun + budget, started + limit)
        print(f"{part}: {run.left:.0f} s at most, {begun - started:.0f} s so far", flush=True)
        if run.left < 0:
            continue
        try:
            run.found[part] = function(run)
        except Exception:  # the parts behind it are worth having
            run.found[part] = {"error": traceback.format_exc()}
            print(run.found[part]["error"], flush=True)
        run.found[part]["took"] = time.monotonic() - begun
        run.keep()
        text = gpu_report.report(run.found)
        (run.out / "gpu.md").write_text(text)
        if write and not run.dry:
            write_section(TITLE, text, of=run.found["machine"]["name"])
    print(f"\n{gpu_report.report(run.found)}\n\n{time.monotonic() - started:.0f} s in all; gpu.json and gpu.md are in "
          f"{run.out}")


def main() -> None:
    arguments = command_line()
    if arguments.first:
        out = REPOSITORY / "runs" / "first-hour" if arguments.out is OUT else arguments.out.resolve()
        sys.exit(first_hour.main(out, device(), arguments.dry_run))
    run = new_run(arguments.dry_run, arguments.out.resolve())
    print("\n".join(["seconds at most:", *(f"  {part:<11}{PARTS[part][0]:>4.0f}" for part in arguments.parts)]))
    try:
        measure(run, arguments.parts, arguments.write, arguments.limit)
    finally:
        for side in run.sides.values():
            side.end()


if __name__ == "__main__":
    main()
