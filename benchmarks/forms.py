"""What the forms of the ops cost: composed, plain, fast and compiled, forward and backward, side by side.

    python benchmarks/forms.py [--threads 1] [--write]

They run in one process and take turns. Memory is what the tape keeps for backward (`view_tape`). --write puts the
table into docs/fast.md.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from common import (
    REPOSITORY,
    Options,
    command_line,
    environment,
    machine,
    median,
    short,
    table,
    thread_limits,
    write_section,
)

FORMS = ("composed", "plain", "fast", "compiled")
HEADER = ("forward and backward", *(f"{form} ms" for form in FORMS), "plain / fast", "fast / compiled",
          *(f"{form} MiB" for form in FORMS))


def losses(tiny: bool) -> Iterator[tuple[str, Callable]]:
    """Pairs of a name and a function that runs ops forward and returns a loss on the tape."""
    import numpy as np

    from tinygrad_gpt import Tensor, ops
    from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config

    def normal(*shape):
        return Tensor(np.random.default_rng(0).standard_normal(shape, np.float32), requires_grad=True)

    def attention(batch, n_head, length, size):
        q, k, v = (normal(batch, n_head, length, size) for _ in range(3))
        return f"attention, {batch} × {length} tokens, {n_head} heads", lambda: ops.attention(q, k, v).sum()

    rows, width, vocabulary, length = (16, 8, 30, 16) if tiny else (1024, 768, 50_257, 1024)
    x, hidden, weight, bias = normal(rows, width), normal(rows, 4 * width), normal(width), normal(width)
    yield f"GELU of {rows:,} × {4 * width:,}", lambda: ops.gelu(hidden).sum()
    yield f"layer norm of {rows:,} × {width:,}", lambda: ops.layer_norm(x, weight, bias).sum()
    yield attention(4, 12, length // 4, 64)
    yield attention(1, 12, length, 64)
    few, table_ = normal(rows // 4, width), normal(vocabulary, width)
    targets = np.random.default_rng(0).integers(0, vocabulary, rows // 4)
    yield f"loss of {rows // 4:,} tokens, {vocabulary:,} words", lambda: ops.linear_cross_entropy(few, table_, targets)
    model = GPT2(GPT2Config(vocab_size=65, n_ctx=64, n_embd=32 if tiny else 128, n_layer=4, n_head=4))
    ids = np.random.default_rng(0).integers(0, 65, (12, 65))
    yield "gradients of nanoGPT's CPU configuration", lambda: model.loss(ids[:, :-1], ids[:, 1:])


def measure(options: Options) -> list[tuple[str, ...]]:
    """A row for each work: milliseconds in each form, plain beside fast, and MiB that the tape keeps in each form."""
    from tinygrad_gpt.engine import using_ops
    from tinygrad_gpt.study import view_tape

    rows = []
    for name, loss in losses(options.tiny):
        times: dict[str, list[float]] = {form: [] for form in FORMS}
        kept = {}
        for block in range(1 + options.blocks):  # the first is a warm-up
            for form in FORMS:
                with using_ops(form):
                    started = time.perf_counter()
                    y = loss()
                    if block == 0:
                        kept[form] = view_tape(y).bytes / 2**20
                    y.backward()
                    times[form].append(1000 * (time.perf_counter() - started))
        ratios = [median(a / b for a, b in zip(times[slower][1:], times[faster][1:], strict=True))
                  for slower, faster in (("plain", "fast"), ("fast", "compiled"))]
        rows.append((name, *(short(median(times[form][1:])) for form in FORMS), *(f"{ratio:.2f}" for ratio in ratios),
                     *(short(kept[form]) for form in FORMS)))
    return rows


def main() -> None:
    options, arguments = command_line(__doc__)
    threads = options.threads[0]
    if any(os.environ.get(name) != value for name, value in thread_limits(threads).items()):
        # They are read when NumPy is imported.
        sys.exit(subprocess.run([sys.executable, *sys.argv], env=environment(threads), check=False).returncode)
    text = "\n\n".join([
        f"`benchmarks/forms.py`, {machine()}",
        table(HEADER, measure(options)),
        f"{threads} thread{'s' if threads > 1 else ''}, float32; medians of {options.blocks} calls that take turns, "
        "and of the ratios of neighbours. MiB: what the tape keeps for backward, parameters not counted."])
    print(text)
    if arguments.write:
        write_section("What the plain forms cost", text, REPOSITORY / "docs" / "fast.md")


if __name__ == "__main__":
    main()
