"""What each trick of docs/fast.md gives: the same work without it and with it, side by side.

    python benchmarks/tricks.py [--threads 1] [--write]

Most are a few lines of NumPy, so that they can be read, tried and changed here; some run the package's own ops. Both
sides run in one process and take turns; their results are the same (tests/test_benchmarks.py). --write puts the table
into docs/fast.md.
"""

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

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

PAGE = REPOSITORY / "docs" / "fast.md"
C = math.sqrt(2 / math.pi)
CHUNK = 1 << 15  # numbers: 128 KiB


@dataclass(frozen=True)
class Trick:
    """Two functions that do the same and return the same; before each, something may be done that is not timed."""

    name: str
    without: Callable[[], object]
    with_it: Callable[[], object]
    before: Callable[[], object] = lambda: None


def normal(*shape):
    import numpy as np

    return np.random.default_rng(0).standard_normal(shape, np.float32)


def chunks(n):
    """Slices of `CHUNK` numbers."""
    return [slice(i, i + CHUNK) for i in range(0, n, CHUNK)]


def half_tanh(x, h):
    """Write ½ (1 + tanh u) of GELU into h."""
    import numpy as np

    np.multiply(x, x, out=h)
    h *= 0.044715 * C
    h += C
    h *= x
    np.tanh(h, out=h)
    h += 1
    h *= 0.5


def gelu(x, y):
    """Write GELU into y, which is returned."""
    half_tanh(x, y)
    y *= x
    return y


def elementwise(rows, width) -> Iterator[Trick]:
    """GELU over the hidden activations of an MLP, and AdamW over one of its weights."""
    import numpy as np

    x, g = (normal(rows * 4 * width) for _ in range(2))
    y, h, slope, grad = (np.empty_like(x) for _ in range(4))

    def with_power():
        return 0.5 * x * (1 + np.tanh(C * (x + 0.044715 * x**3)))

    def with_products():
        return 0.5 * x * (1 + np.tanh(C * (x + 0.044715 * (x * x * x))))

    def with_float64():
        c = np.sqrt(2 / np.pi)  # a NumPy number, which makes float64 of all that it meets
        return 0.5 * x * (1 + np.tanh(c * (x + 0.044715 * (x * x * x))))

    def in_chunks():
        for some in chunks(len(x)):
            gelu(x[some], y[some])
        return y

    def derivative(x, h, d):
        np.multiply(x, x, out=d)
        d *= 6 * 0.044715 * C
        d += 2 * C
        d *= x
        d *= 1 - h
        d += 1
        d *= h

    def gradient_of_x_and_h():
        for some in chunks(len(x)):  # forward
            half_tanh(x[some], h[some])
            np.multiply(x[some], h[some], out=y[some])
        for some in chunks(len(x)):  # backward
            derivative(x[some], h[some], grad[some])
            grad[some] *= g[some]
        return grad

    def gradient_of_slope():
        for some in chunks(len(x)):  # forward
            half_tanh(x[some], y[some])
            derivative(x[some], y[some], slope[some])
            y[some] *= x[some]
        return np.multiply(g, slope, out=grad)  # backward

    yield Trick("Python's numbers, not NumPy's", with_float64, with_products)
    yield Trick("x * x * x, not a power", with_power, with_products)
    yield Trick("results into memory that is there", with_products, lambda: gelu(x, y))
    yield Trick("chunks that fit into the cache", lambda: gelu(x, y), in_chunks)
    yield Trick("the slope is kept, not what it is made of", gradient_of_x_and_h, gradient_of_slope)
    grad_p, p = (normal(4 * width * width) for _ in range(2))
    (m, v), (before_m, before_v, before_p) = (np.zeros_like(p) for _ in range(2)), (0 * p, 0 * p, p.copy())

    def adamw(some):
        t = grad_p[some] - m[some]
        t *= 0.1
        m[some] += t
        np.multiply(grad_p[some], grad_p[some], out=t)
        t *= 0.001
        v[some] *= 0.999
        v[some] += t
        np.sqrt(v[some], out=t)
        t += 1e-8
        np.divide(m[some], t, out=t)
        t *= 1e-3
        p[some] -= t

    def step(parts):
        m[:], v[:], p[:] = before_m, before_v, before_p
        for some in parts:
            adamw(some)
        return p

    yield Trick("AdamW in chunks", lambda: step([slice(None)]), lambda: step(chunks(len(p))))


def products(rows, width) -> Iterator[Trick]:
    """Linear layers and sums."""
    import numpy as np

    x, weight, wide = normal(rows // 32, 32, width), normal(width, 4 * width), normal(rows, 4 * width)
    few, along_in = normal(8, width), np.asfortranarray(weight)
    half_x, half_weight = x[:4].reshape(-1, width).astype(np.float16), weight[:, :width].astype(np.float16)
    ones = np.ones(rows, np.float32)
    yield Trick("one product for all texts of a batch", lambda: x @ weight,
                lambda: (x.reshape(-1, width) @ weight).reshape(rows // 32, 32, 4 * width))
    yield Trick("sums over rows as a product", lambda: wide.sum(axis=0), lambda: ones @ wide)
    yield Trick("weights whose memory runs along the inputs", lambda: few @ weight, lambda: few @ along_in)
    yield Trick("half precision is for storage", lambda: half_x @ half_weight,
                lambda: half_x.astype(np.float32) @ half_weight.astype(np.float32))


def attend(q, k, v):
    """Causal attention: queries (B, H, n, D) of the last n of m positions, keys and values (B, H, m, D)."""
    import numpy as np

    n, m = q.shape[2], k.shape[2]
    weights = q @ k.swapaxes(-1, -2)  # (B, H, n, m)
    weights *= 1 / math.sqrt(q.shape[-1])
    np.copyto(weights, -math.inf, where=~np.tri(n, m, m - n, dtype=bool))
    weights -= weights.max(axis=-1, keepdims=True)
    np.exp(weights, out=weights)
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights @ v


def attention(batch, short, long) -> Iterator[Trick]:
    """Attention over many short texts and over a long one, 12 heads of 64."""
    import numpy as np

    q, k, v = (normal(batch, 12, short, 64) for _ in range(3))
    one_q, one_k, one_v = (normal(1, 12, long, 64) for _ in range(3))
    step = max(1, long // 8)

    def head_by_head():
        y = np.empty_like(q)
        for b in range(batch):
            for h in range(12):
                one = slice(b, b + 1), slice(h, h + 1)
                y[one] = attend(q[one], k[one], v[one])
        return y

    def blocks_of_queries():
        y = np.empty_like(one_q)
        for i in range(0, long, step):
            end = i + step  # later keys are never read
            y[:, :, i:end] = attend(one_q[:, :, i:end], one_k[:, :, :end], one_v[:, :, :end])
        return y

    yield Trick("all heads at once", head_by_head, lambda: attend(q, k, v))
    yield Trick("blocks of queries", lambda: attend(one_q, one_k, one_v), blocks_of_queries)


def memory(megabytes, folder) -> Iterator[Trick]:
    """Arrays that come and go, and weights from a file."""
    import ctypes

    import numpy as np

    x = normal(megabytes << 18)
    file = f"{folder}/weights"
    x.tofile(file)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None

    def allocating(trim_threshold, mmap_max):
        mallopt(-1, trim_threshold)
        mallopt(-4, mmap_max)
        y = x + 1
        del y
        return x + 2

    if mallopt:  # glibc
        yield Trick("freed memory is kept", lambda: allocating(128 << 10, 65536), lambda: allocating(-1, 0))
    yield Trick("weights are mapped, not read", lambda: np.fromfile(file, np.float32)[:1000],
                lambda: np.memmap(file, np.float32, "c")[:1000])


def model(batch, length, width, vocabulary) -> Iterator[Trick]:
    """What the package leaves out, with its own ops and a block of GPT-2 124M's size."""
    import numpy as np

    from tinygrad_gpt import Tensor, no_grad, ops
    from tinygrad_gpt.engine import composed_ops
    from tinygrad_gpt.models.classifier import block_over
    from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config

    gpt = GPT2(GPT2Config(vocab_size=vocabulary, n_ctx=length, n_embd=width, n_layer=2, n_head=max(2, width // 64)))
    block, given = gpt.h[0], normal(batch, length, width)

    def gradient():
        x = Tensor(given, requires_grad=True)
        block(x).sum().backward()
        return x.grad.numpy()

    def composed():
        with composed_ops():
            return gradient()

    def forward(x=given, run=block):
        with no_grad():
            return run(Tensor(x)).numpy()

    def forward_and_backward():
        y = block(Tensor(given, requires_grad=True))
        y.sum().backward()
        return y.numpy()

    def last_row(x):
        return block_over(block, x[:, -1:], x, None)

    ids = np.random.default_rng(0).integers(0, vocabulary, (batch, length))
    some = slice(batch // 2)
    cache = gpt.new_cache(1)
    short = ids[:1, :-1]
    with no_grad():
        gpt.next_logits(short, cache)

    def without_cache():
        with no_grad():
            return gpt.head(gpt.ln_f(gpt.hidden(ids[:1])[:, -1])).numpy()

    def with_cache():
        cache.lengths[:] = length - 1
        with no_grad():
            return gpt.next_logits(ids[:1, -1:], cache).numpy()

    def loss(compute):
        x = Tensor(given[some], requires_grad=True)
        compute(x).backward()
        return x.grad.numpy()

    yield Trick("fused ops", composed, gradient)
    padded = np.concatenate([given] * 4, axis=1)
    yield Trick("no tape below what is trained", forward_and_backward, forward)
    yield Trick("the last block only where it is read", lambda: forward()[:, -1:], lambda: forward(run=last_row))
    yield Trick("no padding to four times the length", lambda: forward(padded)[:, :length], forward)
    yield Trick("keys and values are kept", without_cache, with_cache)
    yield Trick("the loss in chunks of rows",
                lambda: loss(lambda x: ops.cross_entropy(gpt.head(x), ids[some])),
                lambda: loss(lambda x: gpt.head_loss(x, ids[some])))


def embedding(rows, width, vocabulary) -> Iterator[Trick]:
    """The gradient of a table of tokens: rows with the same id are added up."""
    import numpy as np

    from tinygrad_gpt.backend import get_backend

    ids, g = np.random.default_rng(0).zipf(1.5, rows) % (2 * rows), normal(rows, width)
    by_sorting = get_backend("numpy").index_add
    total, before = normal(vocabulary, width), normal(2 * rows, width)  # another part of the gradient

    def add(index_add):
        table = np.zeros((2 * rows, width), np.float32)
        index_add(table, ids, g)
        return table

    def added():
        total[:len(before)] = before
        by_sorting(total, ids, g)
        return total[:len(before)]

    def added_by_a_second_table():
        total[:len(before)] = before
        table = np.zeros_like(total)
        by_sorting(table, ids, g)
        total[...] += table
        return total[:len(before)]

    yield Trick("rows of one token are sorted, then summed", lambda: add(np.add.at), lambda: add(by_sorting))
    yield Trick("rows are added to the gradient that is there", added_by_a_second_table, added)


def tricks(options: Options, folder: str) -> Iterator[Trick]:
    """All of them, in the order of the page."""
    rows, width, vocabulary = (128, 32, 50) if options.tiny else (1024, 768, 50_257)
    yield from elementwise(rows, width)
    yield from products(rows, width)
    yield from attention(rows // 64, rows // 32, rows)
    yield from memory(1 if options.tiny else 128, folder)
    yield from model(8, rows // 8, width, vocabulary)
    yield from embedding(rows, width, max(vocabulary, 2 * rows))


def machine_figures() -> str:
    """What bounds all of it: products, and sums from memory and from the cache."""
    import numpy as np

    def seconds(function, times):
        function()
        started = time.perf_counter()
        for _ in range(times):
            function()
        return (time.perf_counter() - started) / times

    x, weight, y = normal(1024, 768), normal(768, 3072), np.empty((1024, 3072), np.float32)
    product = seconds(lambda: np.matmul(x, weight, out=y), 10)
    bandwidth = []
    for n, times in ((1 << 25, 5), (1 << 14, 1000)):
        a, b, c = normal(n), normal(n), np.ones(n, np.float32)
        bandwidth.append(3 * a.nbytes / seconds(lambda a=a, b=b, c=c: np.add(a, b, out=c), times))
    return (f"{x.size * 3072 / product / 1e9:.0f} billion multiplications and additions per second in a product of "
            f"1,024 × 768 with 768 × 3,072; sums of arrays move {bandwidth[0] / 1e9:.0f} GB/s from memory and "
            f"{bandwidth[1] / 1e9:.0f} GB/s from the cache.")


def measure(options: Options) -> list[tuple[str, float, float, float]]:
    """The figures of all tricks, see `timed`."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        return timed(tricks(options, folder), options.blocks)


def timed(found: Iterable[Trick], blocks: int) -> list[tuple[str, float, float, float]]:
    """Name, milliseconds without and with, and how many times as fast, medians of blocks that take turns."""
    rows = []
    for trick in found:
        milliseconds: list[list[float]] = []
        for _ in range(1 + blocks):  # the first is a warm-up
            milliseconds.append([])
            for function in (trick.without, trick.with_it):
                trick.before()
                started = time.perf_counter()
                function()
                milliseconds[-1].append(1000 * (time.perf_counter() - started))
        without, with_it = zip(*milliseconds[1:], strict=True)
        rows.append((trick.name, median(without), median(with_it),
                     median(a / b for a, b in zip(without, with_it, strict=True))))
    return rows


def main() -> None:
    options, arguments = command_line(__doc__)
    threads = options.threads[0]
    if any(os.environ.get(name) != value for name, value in thread_limits(threads).items()):
        # They are read when NumPy is imported.
        sys.exit(subprocess.run([sys.executable, *sys.argv], env=environment(threads), check=False).returncode)
    rows = [(name, short(without), short(with_it), f"{gain:.2f}")
            for name, without, with_it, gain in measure(options)]
    text = "\n\n".join([
        f"`benchmarks/tricks.py`, {machine()}",
        table(("trick", "ms without", "ms with", "times as fast"), rows),
        f"{threads} thread{'s' if threads > 1 else ''}, float32, sizes of GPT-2 124M; medians of {options.blocks} "
        "calls that take turns, and of the ratios of neighbours. The machine: " + machine_figures()])
    print(text)
    if arguments.write:
        write_section("Measured", text, PAGE)


if __name__ == "__main__":
    main()
