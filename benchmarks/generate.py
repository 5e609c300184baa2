"""Decoding with GPT-2 124M beside torch: milliseconds a token, each in a process of its own, turn by turn.

    python benchmarks/generate.py [--write]

Random weights, a prompt of 64 tokens, one thread. A block is 8 tokens for every row (1 without the cache); blocks
alternate, so that whatever else the machine does hits all. Time is the CPU time of the process, which on an idle
machine is the time that passes. torch: the model of tests/torch_gpt2.py with a preallocated cache, SDPA, inference
mode. Limit: each weight times one vector, nothing else; the memory can deliver the weights no faster.
"""

import argparse
import json
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PROMPT, TOKENS, BLOCKS = 64, 8, 5
WORKERS = ("ours", "decode", "no cache", "torch", "limit")


def config():
    from tinygrad_gpt.models.gpt2 import GPT2Config

    return GPT2Config(n_ctx=PROMPT + TOKENS)


def prompts(batch):
    import numpy as np

    return np.random.default_rng(0).integers(0, 50257, (batch, PROMPT))


def our_block(batch):
    """The model with its cache, greedy."""
    from tinygrad_gpt import no_grad
    from tinygrad_gpt.models.gpt2 import GPT2

    model = GPT2(config()).eval()
    cache = model.new_cache(batch)
    with no_grad():
        first = model.next_logits(prompts(batch), cache).numpy().argmax(axis=-1)

    def block():
        ids, cache.lengths[:] = first, PROMPT
        with no_grad():
            for _ in range(TOKENS):
                ids = model.next_logits(ids[:, None], cache).numpy().argmax(axis=-1)
        return TOKENS

    return block


def decode_block(batch):
    """All that `generate` does for a token: the model, log-probabilities, top-p, the draw, the text."""
    from tinygrad_gpt.generate.decode import decode
    from tinygrad_gpt.generate.sampling import Sampling
    from tinygrad_gpt.models.gpt2 import GPT2
    from tinygrad_gpt.text import Tokenizer

    model = GPT2(config())
    model.ln_f.weight.data[...] *= 10  # logits that differ about as much as a trained model's
    tokenizer = Tokenizer([bytes([i]) for i in range(256)] + [b"%d" % i for i in range(10, 50_010)])
    texts = decode(model, tokenizer, prompts(batch).tolist(), Sampling(0.8, top_p=0.95), max_new_tokens=10**9)

    def block():
        for _ in range(TOKENS * batch):
            next(texts)
        return TOKENS

    return block


def uncached_block(batch):
    from tinygrad_gpt import no_grad
    from tinygrad_gpt.models.gpt2 import GPT2

    model, ids = GPT2(config()).eval(), prompts(batch)

    def block():
        with no_grad():
            model.head(model.ln_f(model.hidden(ids)[:, -1])).numpy().argmax(axis=-1)
        return 1

    return block


def torch_block(batch):
    sys.path.append(str(REPOSITORY / "tests"))
    import torch
    import torch_gpt2
    from torch.nn import functional as F

    torch.set_num_threads(1)
    model = torch_gpt2.GPT2(config()).eval()
    heads = model.h[0].attn.n_head
    caches = torch.zeros(len(model.h), 2, batch, heads, PROMPT + TOKENS, model.wte.embedding_dim // heads)

    def attend(attn, x, cache, start):
        shape, end = (batch, x.shape[1], heads, -1), start + x.shape[1]
        q, k, v = (part.view(shape).transpose(1, 2) for part in attn.c_attn(x).chunk(3, dim=-1))
        cache[0, :, :, start:end], cache[1, :, :, start:end] = k, v
        y = F.scaled_dot_product_attention(q, cache[0, :, :, :end], cache[1, :, :, :end], is_causal=start == 0)
        return attn.c_proj(y.transpose(1, 2).flatten(2))

    @torch.inference_mode()
    def next_ids(ids, start):
        x = model.wte(ids) + model.wpe.weight[start:start + ids.shape[1]]
        for layer, cache in zip(model.h, caches, strict=True):
            x = x + attend(layer.attn, layer.ln_1(x), cache, start)
            x = x + layer.mlp(layer.ln_2(x))
        return F.linear(model.ln_f(x[:, -1:]), model.wte.weight).argmax(dim=-1)

    first = next_ids(torch.from_numpy(prompts(batch)), 0)

    def block():
        ids = first
        for i in range(TOKENS):
            ids = next_ids(ids, PROMPT + i)
        return TOKENS

    return block


def limit_block(batch):
    import numpy as np

    from tinygrad_gpt.models.gpt2 import GPT2

    model = GPT2(config())
    weights = [p.numpy() for name, p in model.named_parameters() if p.ndim == 2 and name != "wpe.weight"]
    weights = [w.T if len(w) == 50257 else w for w in weights]  # as the head uses it
    vectors = {n: np.ones(n, np.float32) for n in (768, 3072)}

    def block():
        for _ in range(TOKENS):
            for weight in weights:
                vectors[len(weight)] @ weight
        return TOKENS

    return block


def work(which, batch):
    """The measuring process: run a block for each line on stdin, print the milliseconds of a token."""
    sys.path.insert(0, str(REPOSITORY))
    make = dict(zip(WORKERS, (our_block, decode_block, uncached_block, torch_block, limit_block), strict=True))
    block = make[which](batch)
    block()
    for _ in sys.stdin:
        start = time.process_time()
        tokens = block()
        print(json.dumps(1000 * (time.process_time() - start) / tokens), flush=True)


def rows():
    from common import median, take_turns

    for batch in (1, 8):
        blocks = take_turns(__file__, {which: (which, str(batch)) for which in WORKERS}, BLOCKS, threads=1)

        def ratio(a, b, blocks=blocks):
            return f"{median(x / y for x, y in zip(blocks[a], blocks[b], strict=True)):.2f}"

        yield [str(batch), *(f"{median(blocks[which]):.1f}" for which in ("ours", "torch")), ratio("ours", "torch"),
               f"{median(blocks['limit']):.1f}", ratio("limit", "ours"), f"{median(blocks['decode']):.1f}",
               f"{median(blocks['no cache']):.0f}", ratio("no cache", "ours")]


def main():
    from common import machine, table, write_section

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return work(options.worker[0], int(options.worker[1]))
    text = table(["rows", "ours ms", "torch ms", "ratio", "limit ms", "limit / ours", "with sampling ms", "no cache ms",
                  "no cache / cache"], rows())
    text = (f"`benchmarks/generate.py`, {machine()}\n\n{text}\n\nGPT-2 124M, float32, one thread: milliseconds for one "
            f"token more of every row behind a prompt of {PROMPT} tokens. CPU time; medians of {BLOCKS} blocks of "
            f"{TOKENS} tokens that take turns, and of the ratios of neighbouring blocks. torch: the same model with a "
            "preallocated cache and SDPA. Limit: each weight times one vector, nothing else. With sampling: all that "
            "`generate` does for a token, log-probabilities, top-p and the draw included.")
    print(text)
    if options.write:
        write_section("Generation", text)
    return None


if __name__ == "__main__":
    main()
