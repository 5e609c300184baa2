"""What the engine costs where arrays are tiny: an MLP step beside torch eager, and one op with its gradient.

    python benchmarks/engine.py [--write]

MLP: 32 rows of 16 features, 16 hidden units, GELU, 4 classes, cross-entropy, on random numbers; the same weights on
both sides. Ops: a chain of 200 calls on 8 numbers, forward alone and with backward, beside the same arithmetic written
by hand in NumPy; the engine is the difference. All processes take turns, one thread, CPU time (on an idle machine the
time that passes).
"""

import argparse
import json
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
ROWS, FEATURES, HIDDEN, CLASSES = 32, 16, 16, 4
OPS, CHAIN = ("neg", "add", "mul"), 200
STEPS, BLOCKS = 500, 7


def data():
    """Rows, their classes, and the weights and biases of two layers."""
    import numpy as np

    r = np.random.default_rng(0)
    sizes = [(FEATURES, HIDDEN), (HIDDEN,), (HIDDEN, CLASSES), (CLASSES,)]
    weights = [0.3 * r.standard_normal(size).astype(np.float32) for size in sizes]
    return r.standard_normal((ROWS, FEATURES)).astype(np.float32), r.integers(0, CLASSES, ROWS), weights


def our_work():
    """Forward and backward, and the optimiser's step."""
    from tinygrad_gpt import Tensor, ops
    from tinygrad_gpt.optim import AdamW

    x, targets, weights = data()
    x, parameters = Tensor(x), [Tensor(weight, requires_grad=True) for weight in weights]
    w1, b1, w2, b2 = parameters
    optimizer = AdamW(parameters, lr=1e-4)

    def step():
        optimizer.zero_grad()
        hidden = ops.gelu(ops.linear(x, w1, b1))
        loss = ops.cross_entropy(ops.linear(hidden, w2, b2), targets)
        loss.backward()
        return loss

    return {"step": step, "AdamW": optimizer.step}


def torch_work():
    """The same in torch; its `linear` takes the weight as (out, in)."""
    import torch
    from torch.nn import functional as F

    torch.set_num_threads(1)
    x, targets, weights = data()
    x, targets = torch.from_numpy(x), torch.from_numpy(targets)
    w1, b1, w2, b2 = parameters = [torch.from_numpy(weight.T.copy()).requires_grad_() for weight in weights]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4)

    def step():
        optimizer.zero_grad()
        hidden = F.gelu(F.linear(x, w1, b1), approximate="tanh")
        loss = F.cross_entropy(F.linear(hidden, w2, b2), targets)
        loss.backward()
        return loss

    return {"step": step, "AdamW": optimizer.step}


def op_work():
    """For each op a chain forward, the same with backward, and NumPy's own part of both."""
    return {f"{name} {part}": work for name in OPS for part, work in _chain(name).items()}


def _chain(name):
    import numpy as np

    from tinygrad_gpt import Tensor

    op, grads = {  # of the op, by hand: the gradients of y and x
        "neg": (lambda y, x: -y, lambda g, y, x: (-g, 0)),
        "add": (lambda y, x: y + x, lambda g, y, x: (g, g)),
        "mul": (lambda y, x: y * x, lambda g, y, x: (g * x, g * y)),
    }[name]
    r = np.random.default_rng(0)
    start, factor = r.standard_normal(8), 1 + 0.1 * r.standard_normal(8)
    first, other = Tensor(start, requires_grad=True), Tensor(factor, requires_grad=True)

    def forward(y=first, x=other):
        for _ in range(CHAIN):
            y = op(y, x)
        return y

    def both():
        forward().backward(start)
        first.zero_grad()
        other.zero_grad()

    def plain_forward():
        return forward(start, factor)

    def plain_both():
        plain_forward()
        g, total = start, 0
        for _ in range(CHAIN):
            g, part = grads(g, start, factor)
            total += part

    return {"forward": forward, "both": both, "NumPy forward": plain_forward, "NumPy both": plain_both}


def work(which):
    """The measuring process: for each line on stdin, print the microseconds of a call of each function as JSON."""
    functions = {"ours": our_work, "torch": torch_work, "ops": op_work}[which]()
    calls = 50 if which == "ops" else STEPS
    for function in functions.values():
        function()
    for _ in sys.stdin:
        figures = {}
        for name, function in functions.items():
            start = time.process_time()
            for _ in range(calls):
                function()
            figures[name] = 1e6 * (time.process_time() - start) / calls
        print(json.dumps(figures), flush=True)


def step_rows(figures):
    from common import median

    for name, text in {"step": "forward and backward", "AdamW": "AdamW"}.items():
        ours, torchs = ([block[name] for block in figures[which]] for which in ("ours", "torch"))
        ratio = median(a / b for a, b in zip(ours, torchs, strict=True))
        yield [text, f"{median(ours):.0f}", f"{median(torchs):.0f}", f"{ratio:.2f}"]


def op_rows(figures):
    from common import median

    for op in OPS:
        forward, both, plain, plain_both = (
            [block[f"{op} {part}"] / CHAIN for block in figures["ops"]]
            for part in ("forward", "both", "NumPy forward", "NumPy both"))
        engine = [median(a - b for a, b in zip(*pair, strict=True)) for pair in ((forward, plain), (both, plain_both))]
        yield [op, *(f"{us:.1f}" for us in (median(forward), median(plain), engine[0], median(both),
                                           median(plain_both), engine[1]))]


def main():
    from common import finish, table, take_turns

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        sys.path.insert(0, str(REPOSITORY))
        return work(options.worker)
    figures = take_turns(__file__, {which: (which,) for which in ("ours", "torch", "ops")}, BLOCKS, threads=1)
    finish("Engine", __file__, [
        table(["MLP step", "ours µs", "torch µs", "ratio"], step_rows(figures)),
        f"Batch {ROWS}, {FEATURES} features, {HIDDEN} hidden units, GELU, {CLASSES} classes, cross-entropy, float32, "
        f"one thread. CPU time; medians of {BLOCKS} blocks of {STEPS} steps that take turns, and of the ratios of "
        "neighbouring blocks.",
        table(["op", "forward µs", "of them NumPy", "engine", "with backward µs", "of them NumPy", "engine"],
              op_rows(figures)),
        f"One call in a chain of {CHAIN} on 8 numbers; all arguments get a gradient. NumPy: the same arithmetic "
        "written by hand."], options)
    return None


if __name__ == "__main__":
    main()
