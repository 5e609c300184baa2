"""One training step (forward, backward, AdamW) beside torch eager, each in a process of its own, turn by turn.

    python benchmarks/train_step.py [--write]

nanoGPT's configuration for CPUs and a small one, on characters of a real text. A block is 20 steps; blocks of the
two alternate, so that whatever else the machine does hits both. torch: the model of tests/torch_gpt2.py (SDPA).
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
MODELS = {
    "nanoGPT's CPU configuration": {"batch": 12, "n_ctx": 64, "n_layer": 4, "n_head": 4, "n_embd": 128},
    "small": {"batch": 4, "n_ctx": 32, "n_layer": 2, "n_head": 4, "n_embd": 64},
}
STEPS, BLOCKS, WARM_UP = 20, 7, 5


def batches(batch, length, n):
    """``n`` pairs (ids, targets) (batch, length) of characters, and the number of different characters."""
    import numpy as np

    shared_data = Path(os.environ.get("TINYGRAD_GPT_DATA", REPOSITORY.parent / "shared" / "data"))
    shakespeare = shared_data / "text" / "tinyshakespeare.txt"
    text = (shakespeare if shakespeare.exists() else REPOSITORY / "README.md").read_text(encoding="utf-8")
    characters, ids = np.unique(list(text), return_inverse=True)
    starts = np.random.default_rng(0).integers(0, len(ids) - length, (n, batch, 1)) + np.arange(length)
    return [(ids[rows], ids[rows + 1]) for rows in starts], len(characters)


def our_step(config):
    from tinygrad_gpt import ops
    from tinygrad_gpt.models.gpt2 import GPT2
    from tinygrad_gpt.optim import AdamW

    model = GPT2(config)
    optimizer = AdamW(model.parameters(), lr=1e-3)

    def step(ids, targets):
        optimizer.zero_grad()
        loss = ops.cross_entropy(model(ids), targets)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def torch_step(config):
    sys.path.append(str(REPOSITORY / "tests"))
    import torch
    import torch_gpt2

    from tinygrad_gpt.models.gpt2 import GPT2

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    model = torch_gpt2.copy_weights(GPT2(config), torch_gpt2.GPT2(config))
    optimizer = torch_gpt2.adamw(model, lr=1e-3, weight_decay=0.01)

    def step(ids, targets):
        optimizer.zero_grad()
        logits = model(torch.from_numpy(ids)).flatten(0, 1)
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(targets).flatten())
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def work(which, name):
    """The measuring process: run a block for each line on stdin, print its figures as a line of JSON."""
    sys.path.insert(0, str(REPOSITORY))
    from common import peak_mib

    from tinygrad_gpt.models.gpt2 import GPT2Config

    settings = dict(MODELS[name])
    data, vocab_size = batches(settings.pop("batch"), settings["n_ctx"], STEPS)
    step = {"ours": our_step, "torch": torch_step}[which](GPT2Config(vocab_size=vocab_size, **settings))
    for ids, targets in data[:WARM_UP]:
        step(ids, targets)
    for _ in sys.stdin:
        start = time.perf_counter()
        losses = [step(ids, targets) for ids, targets in data]
        seconds = (time.perf_counter() - start) / STEPS
        print(json.dumps({"ms": 1000 * seconds, "mib": peak_mib(), "loss": losses[-1]}), flush=True)


def rows():
    from common import median, take_turns

    for name in MODELS:
        for threads in (1, 2):
            figures = take_turns(__file__, {which: (which, name) for which in ("ours", "torch")}, BLOCKS, threads)
            ours, torchs = ([block["ms"] for block in figures[which]] for which in ("ours", "torch"))
            memory = [max(block["mib"] for block in figures[which]) for which in ("ours", "torch")]
            ratio = median(a / b for a, b in zip(ours, torchs, strict=True))
            yield [name, str(threads), f"{median(ours):.1f}", f"{median(torchs):.1f}", f"{ratio:.2f}",
                   *(f"{mib:.0f}" for mib in memory)]


def main():
    from common import machine, table, write_section

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return work(*options.worker)
    sizes = "; ".join(f"{name}: " + ", ".join(f"{key} {value}" for key, value in model.items())
                      for name, model in MODELS.items())
    text = table(["model", "threads", "ours ms", "torch ms", "ratio", "ours MiB", "torch MiB"], rows())
    text = (f"`benchmarks/train_step.py`, {machine()}\n\n{text}\n\nOne step is forward, backward and AdamW in float32. "
            f"Medians of {BLOCKS} blocks of {STEPS} steps; the ratio is the median of ratios of neighbouring blocks; "
            f"MiB is the peak of the whole process. {sizes}.")
    print(text)
    if options.write:
        write_section("Training step", text)
    return None


if __name__ == "__main__":
    main()
