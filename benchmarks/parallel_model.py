"""What many GPUs would make of a training step: a cost model, and a simulation of it. Nothing here was measured by us.

    python benchmarks/parallel_model.py [--write]

The model adds up one step of a GPT-2 on N GPUs in nodes of eight. The forward pass, then the backward pass, which
makes the gradients of one block after another; each bucket is summed when it is full and the one before is through;
AdamW follows the last. The simulation does the same bucket by bucket with GPUs whose speed varies from step to step, so
that all wait for the slowest. --write puts the tables into docs/parallel.md.
"""

import math
from dataclasses import dataclass

import numpy as np
from common import REPOSITORY, command_line, table, write_section

PAGE = REPOSITORY / "docs" / "parallel.md"
NODE = 8  # GPUs
BUCKET = 25 * 2**20  # bytes, as in tinygrad_gpt/parallel/gradients.py
STEPS = 500  # that are simulated

# Cited: NVIDIA's developers on what NCCL reaches on an H100.
NVLINK = 370e9  # bytes/s, of 450e9 on the wire: github.com/NVIDIA/nccl-tests/issues/212
INFINIBAND = 47e9  # bytes/s of one 400 Gbit/s adapter, one for each GPU: github.com/NVIDIA/nccl-tests/issues/290
SMALLEST = 47e-6  # seconds of the smallest sum over two nodes: github.com/NVIDIA/nccl/issues/1244
# Assumed.
PEAK, SHARE = 989e12, 0.30  # FLOP/s of an H100 in bfloat16, and what a training step makes of it
MEMORY = 2.3e12  # bytes/s of its memory, for AdamW
JITTER = 0.02  # standard deviation of the time that a GPU takes, as a share of it


@dataclass(frozen=True)
class Model:
    """A GPT-2 and its batch on one GPU.

    Args:
        name: of it.
        blocks, width: of the transformer.
        rows, length: texts on each GPU, and their tokens.
    """

    name: str
    blocks: int
    width: int
    rows: int
    length: int = 1024
    vocabulary: int = 50257

    @property
    def block(self) -> int:
        """Parameters of a block."""
        return 12 * self.width**2 + 13 * self.width

    @property
    def embeddings(self) -> int:
        """Parameters of the embeddings, one of which is also the head, and of the last norm."""
        return (self.vocabulary + self.length + 2) * self.width

    @property
    def parameters(self) -> int:
        return self.blocks * self.block + self.embeddings

    @property
    def forward(self) -> float:
        """Seconds of the forward pass; the backward pass takes twice that."""
        tokens = self.rows * self.length
        products = 2 * tokens * (self.blocks * self.block + self.vocabulary * self.width)
        attention = 2 * tokens * self.blocks * self.length * self.width  # causal: half of all pairs
        return (products + attention) / (PEAK * SHARE)

    @property
    def update(self) -> float:
        """Seconds of AdamW: three arrays are read and written, and the gradient is read."""
        return 7 * 4 * self.parameters / MEMORY


MODELS = (Model("124M", 12, 768, 16), Model("1.5B", 48, 1600, 4))


def sum_seconds(size: float, gpus: int) -> float:
    """Seconds to sum ``size`` bytes over GPUs: within a node, over the nodes a part for each GPU, and within again."""
    if gpus == 1:
        return 0.0
    inside, nodes = min(gpus, NODE), math.ceil(gpus / NODE)
    seconds = 2 * (inside - 1) / inside * size / NVLINK
    if nodes > 1:
        seconds += 2 * (nodes - 1) / nodes * (size / inside) / INFINIBAND
    return seconds + SMALLEST * max(1, math.log2(gpus) / 4)  # two nodes have 16 GPUs


def buckets(model: Model, together: bool) -> list[tuple[float, float]]:
    """For each bucket of gradients the share of the backward pass after which it is full, and its bytes.

    Args:
        together: the gradients of all blocks come at once, at their end, as where the blocks are one op.
    """
    head = model.vocabulary * model.width / (model.vocabulary * model.width + model.blocks * model.block)
    filled, found = 0.0, []
    for done in range(1, model.blocks + 1):
        filled += 4 * model.block
        if filled >= BUCKET:
            share = 1.0 if together else head + (1 - head) * done / model.blocks
            found.append((share, filled))
            filled = 0.0
    return [*found, (1.0, filled + 4 * model.embeddings)]  # the embedding's last part comes last


def step_seconds(model: Model, gpus: int, together: bool = False, slowness: float = 1.0) -> float:
    """Seconds of a step.

    Args:
        slowness: time of the slowest GPU's arithmetic, 1 being the usual one.
    """
    forward, backward = slowness * model.forward, slowness * 2 * model.forward
    free = 0.0  # when the network is
    for share, size in buckets(model, together):
        free = max(free, forward + share * backward) + sum_seconds(size, gpus)
    return max(free, forward + backward) + slowness * model.update


def simulated(model: Model, gpus: int, seed: int = 0) -> float:
    """Mean seconds of steps in which each GPU's arithmetic takes a time of its own."""
    slowest = np.random.default_rng(seed).normal(1.0, JITTER, (STEPS, gpus)).max(axis=1)
    return float(np.mean([step_seconds(model, gpus, slowness=slow) for slow in slowest]))


def rows_of(model: Model) -> list[tuple[str, ...]]:
    """The lines of a model."""
    lines, one = [], step_seconds(model, 1)
    for gpus in (1, 8, 64, 1024):
        step, total = step_seconds(model, gpus), sum_seconds(4 * model.parameters, gpus)
        tokens = gpus * model.rows * model.length
        lines.append((model.name, f"{gpus:,}", f"{1000 * step:.1f}", f"{1000 * total:.1f}",
                      f"{1000 * (step - one):.1f}", f"{one / step:.2f}",
                      f"{one / step_seconds(model, gpus, together=True):.2f}", f"{one / simulated(model, gpus):.2f}",
                      f"{tokens / step / 1e3:,.0f}"))
    return lines


def memory_of(model: Model) -> list[tuple[str, ...]]:
    """GiB of weights, gradients and moments in a GPU, with moments whole and spread."""
    one = 4 * model.parameters / 2**30
    return [(model.name, f"{gpus:,}", f"{4 * one:.1f}", f"{2 * one + 2 * one / gpus:.1f}") for gpus in (8, 64, 1024)]


def text() -> str:
    """The section of the page."""
    times = table(("model", "GPUs", "ms of a step", "ms to sum the gradients alone", "ms that are waited for",
                   "efficiency", "the same, gradients of the blocks at once", "the same, simulated",
                   "thousand tokens/s"), [line for model in MODELS for line in rows_of(model)])
    memory = table(("model", "GPUs", "GiB of weights, gradients and moments a GPU", "the same, moments spread"),
                   [line for model in MODELS for line in memory_of(model)])
    batches = " and ".join(f"{model.rows} texts of {model.length:,} tokens for {model.name}" for model in MODELS)
    return "\n\n".join([
        "`benchmarks/parallel_model.py`. **Not measured: this package has never run on two GPUs.** Efficiency is the "
        "time of a step on one GPU divided by that on N with N times the texts.", times, memory, f"""Cited, each from
what NVIDIA's developers write about H100s: {NVLINK / 1e9:.0f} GB/s for each GPU over NVLink
([nccl-tests 212](https://github.com/NVIDIA/nccl-tests/issues/212)), {INFINIBAND / 1e9:.0f} GB/s for each 400 Gbit/s
adapter, one a GPU ([nccl-tests 290](https://github.com/NVIDIA/nccl-tests/issues/290)), {SMALLEST * 1e6:.0f} µs for the
smallest sum over two nodes ([nccl 1244](https://github.com/NVIDIA/nccl/issues/1244)), taken to grow with the logarithm
of the number of GPUs. Assumed: eight GPUs a node; {SHARE:.0%} of an H100's {PEAK / 1e12:.0f} TFLOP/s in bfloat16;
gradients and moments in float32; AdamW at {MEMORY / 1e12:.1f} TB/s; {batches} on each GPU; sums cost the arithmetic
nothing while they overlap with it; in the simulation, {STEPS} steps, each GPU's time with a standard deviation of
{JITTER:.0%}, and all wait for the slowest.""".replace("\n", " ")])


def main() -> None:
    _, arguments = command_line(__doc__)
    print(text())
    if arguments.write:
        write_section("A model of 8, 64 and 1,024 GPUs", text(), PAGE)


if __name__ == "__main__":
    main()
