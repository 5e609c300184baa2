"""One training step (forward, backward, AdamW) beside torch eager.

    python benchmarks/train_step.py [--threads 1 2] [--write]

GPT-2 124M, nanoGPT's configuration for CPUs and a small one, on random tokens. torch: the model of
tests/helpers/torch_gpt2.py (SDPA); "as in the book": the model of torch_book.py. Limit: the matrix products of the
linear layers, forward and backward, alone.
"""

from common import GPT2_124M, Against, Benchmark, Case, tokens


def batches(vocab_size, batch, length, steps):
    """``steps`` pairs of ids and targets, (batch, length) each."""
    drawn = tokens(vocab_size, steps, batch, length + 1)
    return [(rows[:, :-1].copy(), rows[:, 1:].copy()) for rows in drawn]


def our_block(batch, length, steps, recompute=False, ops="fast", **sizes):
    from tinygrad_gpt.engine import using_ops
    from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
    from tinygrad_gpt.optim import AdamW

    model = GPT2(GPT2Config(n_ctx=length, **sizes))
    model.recompute = recompute
    optimizer = AdamW(model.parameters(), lr=1e-4, decayed_axes=2)
    data = batches(sizes["vocab_size"], batch, length, steps)

    def block():
        with using_ops(ops):
            for ids, targets in data:
                optimizer.zero_grad()
                loss = model.loss(ids, targets)
                loss.backward()
                optimizer.step()
                loss.item()
        return steps

    return block


def recompute_block(**settings):
    return our_block(recompute=True, **settings)


def compiled_block(**settings):
    return our_block(ops="compiled", **settings)


def torch_block(batch, length, steps, written="sdpa", **sizes):
    import torch_side

    model = (torch_side.gpt2(length, **sizes) if written == "sdpa" else
             torch_side.book(length, sizes["vocab_size"], **sizes).requires_grad_())
    optimizer = torch_side.adamw(model)
    data = batches(sizes["vocab_size"], batch, length, steps)

    def block():
        for ids, targets in data:
            optimizer.zero_grad()
            loss = torch_side.cross_entropy(model(torch_side.torch.from_numpy(ids)), targets)
            loss.backward()
            optimizer.step()
            loss.item()
        return steps

    return block


def book_block(**settings):
    return torch_block(written="book", **settings)


def imports_block():
    """What the process holds before there is a model."""
    from tinygrad_gpt import ops
    from tinygrad_gpt.models.gpt2 import GPT2
    from tinygrad_gpt.optim import AdamW

    return lambda: len((ops.__name__, GPT2, AdamW))


def limit_block(batch, length, steps, n_head, **sizes):
    from limits import model_products, products_block

    return products_block(model_products(batch * length, trained=True, **sizes), steps)


MEMORY = Against(0.72, figure="mib", note="memory")
COMPILED = "ours, compiled"


def compiled(goal):
    return Against(goal, of=COMPILED, note="ours with --ops compiled")


BENCHMARK = Benchmark(
    "Training step", __file__,
    {"ours": our_block, COMPILED: compiled_block, "ours, recompute": recompute_block, "torch": torch_block,
     "torch, book": book_block, "limit": limit_block, "imports": imports_block},
    [Case("124M, B 4, T 256", GPT2_124M | {"batch": 4, "length": 256, "steps": 1},
          (Against(0.9), compiled(0.9), MEMORY, Against(0.85, "torch, book", note="torch as in the book"),
           Against(None, "torch, book", figure="mib", note="memory, torch as in the book"),
           Against(None, of="ours, recompute", note="ours with --recompute"),
           Against(0.5, of="ours, recompute", figure="mib", note="memory, ours with --recompute"))),
     Case("124M, B 8, T 128", GPT2_124M | {"batch": 8, "length": 128, "steps": 1},
          (Against(0.9), compiled(0.9), MEMORY)),
     Case("nanoGPT's CPU configuration", {"vocab_size": 65, "n_layer": 4, "n_head": 4, "n_embd": 128, "batch": 12,
                                          "length": 64, "steps": 20},
          (Against(0.9), compiled(0.9), MEMORY), every_thread=True),
     Case("small", {"vocab_size": 65, "n_layer": 2, "n_head": 4, "n_embd": 64, "batch": 4, "length": 32, "steps": 100},
          (Against(0.8), compiled(0.8), MEMORY), every_thread=True)],
    "One step is forward, backward and AdamW in float32. Limit: the matrix products of the linear layers, forward and "
    "backward, alone. nanoGPT's CPU configuration: B 12, T 64, 4 layers, 4 heads, width 128, vocabulary 65; small: "
    "B 4, T 32, 2 layers, 4 heads, width 64.")

if __name__ == "__main__":
    BENCHMARK.main()
