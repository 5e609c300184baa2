"""What two processes of one thread make of a training step, beside one process with half of its rows.

    python benchmarks/parallel.py [--write]

Both do the same arithmetic in each process: with nothing to send, two processes would take the time of one. They take
turns in one `mpiexec`, a block of steps each. A second pair of runs says how much memory a rank takes with AdamW's
moments whole and spread over the ranks. --write puts the tables into docs/parallel.md.
"""

import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import (
    REPOSITORY,
    Options,
    command_line,
    environment,
    kind,
    machine,
    peak_mib,
    short,
    table,
    tiny,
    tokens,
    write_section,
)

PAGE = REPOSITORY / "docs" / "parallel.md"
RANKS = 2
CASES = {  # name: sizes, and rows and tokens of a step
    "6 blocks of width 384, 16 texts of 128 tokens": {
        "vocab_size": 4096, "n_layer": 6, "n_head": 6, "n_embd": 384, "batch": 16, "length": 128},
    "4 blocks of width 192, 32 texts of 256 tokens": {
        "vocab_size": 4096, "n_layer": 4, "n_head": 4, "n_embd": 192, "batch": 32, "length": 256},
}


def started(settings: dict[str, Any], what: str) -> dict[str, Any]:
    """What rank 0 of a worker says."""
    mpiexec = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")
    if mpiexec is None:
        raise SystemExit("there is no mpiexec: pip install 'tinygrad-gpt[parallel]'")
    said = subprocess.run([mpiexec, "-n", str(RANKS), sys.executable, __file__, "--worker", what, json.dumps(settings)],
                          env=environment(1), stdout=subprocess.PIPE, check=True, text=True).stdout
    return json.loads(said)


def rest(group: Any) -> None:
    """Wait for the other ranks without taking a core from them, as `Group.wait` does."""
    request = group.comm.Ibarrier()
    while not request.Test():
        time.sleep(0.002)


def worker(what: str, vocab_size: int, batch: int, length: int, blocks: int, steps: int, **sizes: int) -> None:
    """In a rank: measure "time", or the memory of a few steps "whole" or "sharded"; rank 0 prints the figures."""
    from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
    from tinygrad_gpt.optim import AdamW, ShardedAdamW
    from tinygrad_gpt.parallel.gradients import Gradients, MeanGradients
    from tinygrad_gpt.parallel.mpi import connect
    from tinygrad_gpt.train import train_step

    group = connect(RANKS)
    model = GPT2(GPT2Config(vocab_size, length, **sizes)).train()
    rows = tokens(vocab_size, batch, length + 1)[group.own(batch)]

    def step(optimizer, gradients):
        train_step([lambda: model.loss(rows[:, :-1], rows[:, 1:])], optimizer, 1.0, "here", model, None, gradients)

    together = AdamW(model.parameters(), 1e-4)
    if what == "sharded":
        together = ShardedAdamW(together, group)
    mean = MeanGradients(group, together.parameters)
    if what == "time":
        alone = AdamW(model.parameters(), 1e-4)
        for run in (lambda: step(alone, Gradients()), lambda: step(together, mean)):
            run()
        figures = [turns(group, steps, lambda: step(alone, Gradients()), lambda: step(together, mean),
                         lambda: group.start_total(mean.flat)()) for _ in range(blocks)]
        answer: Any = {"blocks": figures, "parameters": sum(p.size for p in model.parameters())}
    else:
        for _ in range(3):
            step(together, mean)
        kept = sum(m.nbytes + v.nbytes for m, v in together.moments) / 2**20
        answer = {"moments": kept, "peak": peak_mib()}
    if group.rank == 0:
        print(json.dumps(answer))


def turns(group: Any, steps: int, alone: Any, together: Any, send: Any) -> list[float]:
    """Milliseconds of a step of one process while the others rest, of a step of all, and of sending the gradient."""
    figures = []
    for run, ranks in ((alone, 1), (together, RANKS), (send, RANKS)):
        rest(group)
        started_at = time.perf_counter()
        if group.rank < ranks:
            for _ in range(steps):
                run()
        figures.append((time.perf_counter() - started_at) * 1000 / steps)
    return figures


def measure(options: Options) -> list[str]:
    """The two tables."""
    times, memory = [], []
    for name, sizes in CASES.items():
        settings = (tiny(sizes) if options.tiny else sizes) | {"blocks": options.blocks, "steps": 3}
        found = started(settings, "time")
        one, two, send = (statistics.median(column) for column in zip(*found["blocks"], strict=True))
        efficiency = statistics.median(block[0] / block[1] for block in found["blocks"])
        times.append((name, f"{found['parameters']:,}", short(one), short(two), short(send), f"{efficiency:.2f}"))
        for what in ("whole", "sharded"):
            figures = started(settings, what)
            memory.append((name, what, f"{figures['moments']:.0f}", f"{figures['peak']:.0f}"))
    return [table(("model and batch", "parameters", "ms, one process, half the batch", "ms, two processes",
                   "ms to sum a gradient alone", "efficiency"), times),
            table(("model and batch", "moments", "MiB of moments in a rank", "MiB of a rank at its peak"), memory)]


def main() -> None:
    if "--worker" in sys.argv:
        what, settings = sys.argv[-2:]
        worker(what, **json.loads(settings))
        return
    options, arguments = command_line(__doc__, blocks=5)
    text = "\n\n".join([f"`benchmarks/parallel.py`, {machine()}", *measure(options),
                        "Efficiency is the time of one process with half the batch by that of two with the whole, the "
                        f"median of {options.blocks} ratios of neighbouring blocks."])
    print(text)
    if arguments.write:
        write_section("Measured on two cores", text, PAGE, of=kind())


if __name__ == "__main__":
    main()
