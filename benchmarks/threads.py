"""What a second thread of Python's gives beside those of BLAS: over chunks, attention's heads, and halves of a batch.

    python benchmarks/threads.py [--write]

Both sides do the same work and take turns, on as many BLAS threads as the machine has cores; where a line says so, the
second side holds BLAS to one. --write puts the table into docs/decisions/0012-no-threads-of-our-own.md, which draws
the conclusion.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from common import REPOSITORY, Options, command_line, machine, short, table, tiny, tokens, write_section
from train_step import BENCHMARK
from tricks import Trick, gelu, normal, timed

PAGE = REPOSITORY / "docs" / "decisions" / "0012-no-threads-of-our-own.md"
CHUNK = 1 << 16  # numbers
POOL = ThreadPoolExecutor(1)


def shared(work: Callable, parts: list) -> list:
    """The results of ``work`` of all parts, the second half of them done by another thread at the same time."""
    half = len(parts) // 2
    others = POOL.submit(lambda: [work(part) for part in parts[half:]])
    return [work(part) for part in parts[:half]] + others.result()


def elementwise(rows: int, width: int, product: Callable) -> Iterator[Trick]:
    """GELU, alone and behind a matrix product, whose second thread does not sleep at once."""
    import numpy as np

    x, y = normal(rows * width), np.empty(rows * width, np.float32)
    step = min(CHUNK, -(-len(x) // 2))
    parts = [slice(i, i + step) for i in range(0, len(x), step)]

    def one():
        for part in parts:
            gelu(x[part], y[part])
        return y

    def two():
        shared(lambda part: gelu(x[part], y[part]), parts)
        return y

    yield Trick(f"GELU of {rows:,} × {width:,}", one, two)
    yield Trick(f"GELU of {rows:,} × {width:,}, behind a product", one, two, product)


def attention(batch: int, length: int, n_head: int, size: int, product: Callable) -> Trick:
    """Half of the heads in each thread."""
    import numpy as np

    from tinygrad_gpt.ops.fast.attention import Mask, attend

    causal = Mask(padding=None, causal=True, keep=None, p=0.0)
    q, k, v = (normal(batch, n_head, length, size) for _ in range(3))

    def some(heads):
        return attend(np, q[:, heads], k[:, heads], v[:, heads], causal)[0]

    halves = [slice(0, n_head // 2), slice(n_head // 2, n_head)]
    return Trick(f"attention, {batch} × {length} tokens, {n_head} heads, behind a product", lambda: some(slice(None)),
                 lambda: np.concatenate(shared(some, halves), axis=1), product)


def gradients_of(name: str, batch: int, length: int, steps: int, **sizes) -> Trick:
    """A loss and its gradients: on BLAS's threads, or half of the batch in each thread with BLAS held to one."""
    from threadpoolctl import ThreadpoolController

    from tinygrad_gpt.engine.functional import grad
    from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config

    model = GPT2(GPT2Config(n_ctx=length, **sizes))
    parameters = [model.wte.weight, *(p for p in model.parameters() if p is not model.wte.weight)]
    rows = tokens(sizes["vocab_size"], batch, length + 1)
    blas = ThreadpoolController()

    def whole(part=slice(None), share=1.0):
        loss = model.loss(rows[part, :-1], rows[part, 1:]) * share
        return [g.data for g in grad(loss, parameters)]

    def halves():
        with blas.limit(limits=1):
            mine, other = shared(lambda part: whole(part, 0.5), [slice(0, batch // 2), slice(batch // 2, batch)])
        for total, g in zip(mine, other, strict=True):
            total += g
        return mine

    return Trick(f"gradients of {name}, BLAS held to one", lambda: whole()[0], lambda: halves()[0])


def pairs(options: Options) -> Iterator[Trick]:
    """All of them."""
    rows, width = (64, 32) if options.tiny else (1024, 768)
    x, weight = normal(rows, width), normal(width, 4 * width)

    def product():
        return x @ weight

    yield from elementwise(rows, 4 * width, product)
    yield from elementwise(rows, width // 8, product)
    yield attention(1, rows, 12, 64, product)
    yield attention(12, 64, 4, 32, product)
    for case in BENCHMARK.cases[1:]:
        yield gradients_of(case.name, **(tiny(case.settings) if options.tiny else case.settings))


def main() -> None:
    options, arguments = command_line(__doc__, blocks=9)
    rows = [(name, short(one), short(two), f"{gain:.2f}") for name, one, two, gain in
            timed(pairs(options), options.blocks)]
    text = "\n\n".join([f"`benchmarks/threads.py`, {machine()}",
                        table(("work", "ms in one thread", "ms in two", "times as fast"), rows),
                        f"Medians of {options.blocks} calls that take turns, and of the ratios of neighbours."])
    print(text)
    if arguments.write:
        write_section("Measured", text, PAGE)


if __name__ == "__main__":
    main()
