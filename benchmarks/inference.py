"""A forward pass of GPT-2 124M, logits at every position, beside torch in inference mode.

    python benchmarks/inference.py [--threads 1 2] [--write]

Random weights and tokens: 32 texts of 32 tokens, one of 1,024, one of 16. torch: the model of
tests/helpers/torch_gpt2.py (SDPA). Limit: the matrix products of the linear layers alone.
"""

from common import GPT2_124M, Against, Benchmark, Case, tokens


def our_block(batch, length, steps, **sizes):
    from tinygrad_gpt import no_grad
    from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config

    model, ids = GPT2(GPT2Config(n_ctx=length, **sizes)).eval(), tokens(sizes["vocab_size"], batch, length)

    def block():
        with no_grad():
            for _ in range(steps):
                model(ids)
        return steps

    return block


def torch_block(batch, length, steps, **sizes):
    import torch_side

    model = torch_side.gpt2(length, **sizes).eval()
    ids = torch_side.torch.from_numpy(tokens(sizes["vocab_size"], batch, length))

    def block():
        with torch_side.torch.inference_mode():
            for _ in range(steps):
                model(ids)
        return steps

    return block


def limit_block(batch, length, steps, n_head, **sizes):
    from limits import model_products, products_block

    return products_block(model_products(batch * length, trained=False, **sizes), steps)


def case(name, goal, **settings):
    return Case(name, GPT2_124M | settings, (Against(goal), Against(figure="mib", note="memory")))


BENCHMARK = Benchmark(
    "Inference", __file__, {"ours": our_block, "torch": torch_block, "limit": limit_block},
    [case("B 32, T 32", 1.0, batch=32, length=32, steps=1), case("B 1, T 1024", 1.0, batch=1, length=1024, steps=1),
     case("one text of 16 tokens", 0.9, batch=1, length=16, steps=5)],
    "GPT-2 124M, float32, logits at every position. Limit: the matrix products of the linear layers alone.")

if __name__ == "__main__":
    BENCHMARK.main()
