"""Decoding with GPT-2 124M beside torch: milliseconds for one token more of every text.

    python benchmarks/generate.py [--threads 1 2] [--write]

Random weights, prompts of 64 tokens; a block is 8 tokens for every text (1 without the cache). torch: the model of
tests/helpers/torch_gpt2.py with a preallocated cache, SDPA, inference mode. Limit: each weight times one vector,
nothing else; the memory can deliver the weights no faster.
"""

from common import GPT2_124M, Against, Benchmark, Case, tokens


def our_block(batch, prompt, new, **sizes):
    """The model with its cache, greedy."""
    from tinygrad_gpt import no_grad
    from tinygrad_gpt.backend import default_backend
    from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config

    model = GPT2(GPT2Config(n_ctx=prompt + new, **sizes)).eval()
    cache = model.new_cache(batch)
    with no_grad():
        ids = default_backend().from_numpy(tokens(sizes["vocab_size"], batch, prompt))
        first = model.next_logits(ids, cache).data.argmax(axis=-1)

    def block():
        ids, cache.lengths[:] = first, prompt
        with no_grad():
            for _ in range(new):
                ids = model.next_logits(ids[:, None], cache).data.argmax(axis=-1)
        return new

    return block


def sampling_block(batch, prompt, new, **sizes):
    """All that `generate` does for a token: the model, log-probabilities, top-p, the draw, the text."""
    from tinygrad_gpt.generate.decode import decode
    from tinygrad_gpt.generate.sampling import Sampling
    from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
    from tinygrad_gpt.text import Tokenizer

    model = GPT2(GPT2Config(n_ctx=prompt + new, **sizes))
    model.ln_f.weight.data[...] *= 10  # logits that differ about as much as a trained model's
    tokenizer = Tokenizer([bytes([i]) for i in range(256)] + [b"%d" % i for i in range(10, 50_010)])
    prompts = tokens(sizes["vocab_size"], batch, prompt).tolist()
    texts = decode(model, tokenizer, prompts, Sampling(0.8, top_p=0.95), max_new_tokens=10**9)

    def block():
        for _ in range(new * batch):
            next(texts)
        return new

    return block


def uncached_block(batch, prompt, new, **sizes):
    """One token, for which the whole text is read again."""
    from tinygrad_gpt import no_grad
    from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config

    model = GPT2(GPT2Config(n_ctx=prompt + new, **sizes)).eval()
    ids = tokens(sizes["vocab_size"], batch, prompt)

    def block():
        with no_grad():
            model.head(model.ln_f(model.hidden(ids)[:, -1])).numpy().argmax(axis=-1)

    return block


def torch_block(batch, prompt, new, device="cpu", **sizes):
    import torch_side
    from torch_side import F, torch

    model = torch_side.gpt2(prompt + new, **sizes).eval().to(device)
    heads = model.h[0].attn.n_head
    caches = torch.zeros(len(model.h), 2, batch, heads, prompt + new, model.wte.embedding_dim // heads, device=device)

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

    first = next_ids(torch.from_numpy(tokens(sizes["vocab_size"], batch, prompt)).to(device), 0)

    def block():
        ids = first
        for i in range(new):
            ids = next_ids(ids, prompt + i)
        return new

    return block


def limit_block(batch, prompt, new, n_embd, n_layer, vocab_size, **_):
    """The weights in the order in which the model uses them, each the way round that it has there."""
    import numpy as np
    from limits import block_products

    def normal(*shape):
        return np.random.default_rng(0).standard_normal(shape, np.float32)

    weights = [normal(n_in, n_out) for _, n_in, n_out, _ in block_products(1, n_embd, trained=False) * n_layer]
    weights.append(normal(vocab_size, n_embd).T)
    vectors = {n: normal(n) for n in (n_embd, 4 * n_embd)}

    def block():
        for _ in range(new):
            for weight in weights:
                vectors[len(weight)] @ weight
        return new

    return block


def case(name, batch, goal, *more):
    return Case(name, GPT2_124M | {"batch": batch, "prompt": 64, "new": 8},
                (Against(goal), Against(figure="mib", note="memory"), *more,
                 Against(None, "ours", "with sampling", note="with all that `generate` does, beside the model")))


NO_CACHE = Against(None, "no cache", note="beside ours without the cache")
BENCHMARK = Benchmark(
    "Generation", __file__,
    {"ours": our_block, "with sampling": sampling_block, "no cache": uncached_block, "torch": torch_block,
     "limit": limit_block},
    [case("a token of one text", 1, 0.75, Against(1.3, "limit", note="beside the limit"), NO_CACHE),
     case("a token of each of 8 texts", 8, 0.75, NO_CACHE),
     case("a token of each of 32 texts", 32, 1.0)],
    "GPT-2 124M, float32: milliseconds for one token more of every text behind a prompt of 64 tokens. torch: the same "
    "model with a preallocated cache and SDPA. Limit: each weight times one vector, nothing else. All that `generate` "
    "does: log-probabilities, top-p and the draw are counted.")

if __name__ == "__main__":
    BENCHMARK.main()
