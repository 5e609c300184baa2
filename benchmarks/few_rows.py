"""Products of few rows with the weights of GPT-2 124M: ours, NumPy's own, and torch's linear layer.

    python benchmarks/few_rows.py [--threads 1 2] [--blocks 7] [--write]

Decoding, short texts and the last block at the positions that are read multiply few rows with large weights. Each
product is measured over several weights that do not fit into the cache together, as they come in a model. The head is
the token embedding, transposed; the others have GPT-2's layout, and torch has its own, (n_out, n_in). All sides take
turns.
"""

import json
import os
import sys
import time

from common import command_line, finish, median, short, table, take_turns

ROWS = 1, 2, 4, 8, 16, 32, 64
SHAPES = {"768 × 768": (768, 768), "768 × 2,304": (768, 2304), "768 × 3,072": (768, 3072),
          "3,072 × 768": (3072, 768), "head, 768 × 50,257": (768, 50257)}
TINY_SHAPES = {"16 × 48": (16, 48), "head, 16 × 96": (16, 96)}
NUMBERS = 30_000_000  # of the weights of one shape: 120 MB, more than a cache holds


def our_product():
    from tinygrad_gpt.backend.numpy import numpy_product

    return numpy_product


def plain_product():
    import numpy as np

    return np.matmul


def torch_product():
    import torch
    from torch.nn import functional as F

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))

    def product(x, weight):
        return F.linear(torch.from_numpy(x), torch.from_numpy(weight.T))

    return product


SIDES = {"ours": our_product, "NumPy": plain_product, "torch": torch_product}


def block_of(side, is_tiny):
    """A function that measures each product once over: name and rows -> milliseconds."""
    import numpy as np

    product, generator = SIDES[side](), np.random.default_rng(0)
    shapes, numbers = (TINY_SHAPES, 1) if is_tiny else (SHAPES, NUMBERS)
    weights = {}
    for name, (n_in, n_out) in shapes.items():
        along_inputs = side == "torch" or name.startswith("head")
        drawn = [generator.standard_normal((n_out, n_in) if along_inputs else (n_in, n_out), np.float32)
                 for _ in range(-(-numbers // (n_in * n_out)))]
        weights[name] = [weight.T if along_inputs else weight for weight in drawn]
    rows = {n: generator.standard_normal((n, 4096), np.float32) for n in ROWS}

    def block():
        figures = {}
        for name, listed in weights.items():
            for n in ROWS:
                x = rows[n][:, :len(listed[0])].copy()
                product(x, listed[0])  # wakes the threads
                started = time.perf_counter()
                for weight in listed:
                    product(x, weight)
                figures[f"{name}, {n}"] = 1000 * (time.perf_counter() - started) / len(listed)
        return figures

    return block


def measure(options):
    """Three tables: our speed, and our time beside torch's and NumPy's."""
    shapes = TINY_SHAPES if options.tiny else SHAPES
    speeds, beside = [], {"torch": [], "NumPy": []}
    for threads in options.threads:
        blocks = take_turns(__file__, {side: (side, json.dumps(options.tiny)) for side in SIDES}, options.blocks,
                            threads)
        for name, (n_in, n_out) in shapes.items():
            first = [name, str(threads)]
            keys = [f"{name}, {n}" for n in ROWS]
            speeds.append([*first, *(
                short(2e-6 * n * n_in * n_out / median(block[key] for block in blocks["ours"]))
                for n, key in zip(ROWS, keys, strict=True))])
            for side, lines in beside.items():
                lines.append([*first, *(
                    f"{median(a[key] / b[key] for a, b in zip(blocks['ours'], blocks[side], strict=True)):.2f}"
                    for key in keys)])
    rows = [f"{n} row{'s' * (n > 1)}" for n in ROWS]
    return [table(("GFLOP/s", "threads", *rows), speeds),
            table(("time / torch", "threads", *rows), beside["torch"]),
            table(("time / NumPy's `x @ weight`", "threads", *rows), beside["NumPy"])]


def main():
    options, arguments = command_line(__doc__)
    if arguments.worker:
        block = block_of(arguments.worker[0], json.loads(arguments.worker[1]))
        for _ in sys.stdin:
            print(json.dumps(block()), flush=True)
        return
    finish("Products of few rows", __file__, [
        *measure(options),
        f"float32; the weights come from memory. Medians of {options.blocks} blocks of each side, which take turns, "
        "and of the ratios of neighbouring blocks."], arguments)


if __name__ == "__main__":
    main()
