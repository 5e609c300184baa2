"""One step of finetuning GPT-2 124M as a classifier, all of it or its last block, beside torch eager.

    python benchmarks/classify_step.py [--threads 1 2] [--write]

Eight texts of 120 random tokens, read at the last one; forward, backward, AdamW. Nothing is cached from step to step:
what that gives, and shorter texts, benchmarks/finetune_spam.py shows. torch: the model of tests/helpers/torch_gpt2.py
(SDPA); "as in the book": the model of torch_book.py. Limit: the matrix products of the linear layers that this
package computes, alone.
"""

from common import GPT2_124M, Against, Benchmark, Case, tokens

CLASSES = 2


def data(vocab_size, batch, length):
    """ids (batch, length), lengths (batch) and classes (batch)."""
    import numpy as np

    return tokens(vocab_size, batch, length), np.full(batch, length), tokens(CLASSES, batch)


def our_block(batch, length, part, **sizes):
    from tinygrad_gpt import ops
    from tinygrad_gpt.models.classifier import GPT2Classifier
    from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
    from tinygrad_gpt.optim import AdamW
    from tinygrad_gpt.recipes.classification.starting_model import set_trained

    model = GPT2Classifier(GPT2(GPT2Config(n_ctx=length, **sizes)), CLASSES)
    set_trained(model, part)
    optimizer = AdamW(model.trainable(), lr=1e-4, decayed_axes=2)
    ids, lengths, classes = data(sizes["vocab_size"], batch, length)

    def block():
        optimizer.zero_grad()
        loss = ops.cross_entropy(model(ids, lengths), classes)
        loss.backward()
        optimizer.step()
        loss.item()

    return block


def torch_block(batch, length, part, written="sdpa", **sizes):
    import torch_side

    if written == "sdpa":
        model, head = torch_side.gpt2(length, **sizes), torch_side.torch.nn.Linear(sizes["n_embd"], CLASSES)
        parts = [model.h[-1], model.ln_f, head]

        def scores(ids):
            return head(torch_side.hidden(model, ids)[:, -1])
    else:
        model = head = torch_side.book(length, CLASSES, **sizes)
        parts = [model.blocks[-1], model.norm, model.head]

        def scores(ids):
            return model(ids)[:, -1]

    model.requires_grad_(part == "all")
    for module in parts:
        module.requires_grad_(True)
    optimizer = torch_side.adamw(torch_side.torch.nn.ModuleList(dict.fromkeys((model, head))))
    ids, _, classes = data(sizes["vocab_size"], batch, length)
    ids = torch_side.torch.from_numpy(ids)

    def block():
        optimizer.zero_grad()
        loss = torch_side.cross_entropy(scores(ids), classes)
        loss.backward()
        optimizer.step()
        loss.item()

    return block


def book_block(**settings):
    return torch_block(written="book", **settings)


def limit_block(batch, length, part, n_layer, n_embd, **_):
    """All positions in all blocks but the last, where only the keys and values are needed of all."""
    from limits import block_products, products_block

    rows = batch * length
    below = block_products(rows, n_embd, trained=part == "all") * (n_layer - 1)
    last = [(rows, n_embd, 2 * n_embd, True), (batch, n_embd, n_embd, True),
            *block_products(batch, n_embd, trained=True)[1:]]
    return products_block(below + last)


def case(name, part):
    return Case(name, GPT2_124M | {"batch": 8, "length": 120, "part": part},
                (Against(1.0), Against(0.8, figure="mib", note="memory"),
                 Against(0.85, "torch, book", note="torch as in the book")))


BENCHMARK = Benchmark(
    "Finetuning step", __file__,
    {"ours": our_block, "torch": torch_block, "torch, book": book_block, "limit": limit_block},
    [case("all layers, B 8, T 120", "all"), case("last block, B 8, T 120", "last-block")],
    "GPT-2 124M with two classes, read at the last token, float32; forward, backward, AdamW. Limit: the matrix "
    "products of the linear layers that this package computes, alone: of the last block only what is read.")

if __name__ == "__main__":
    BENCHMARK.main()
