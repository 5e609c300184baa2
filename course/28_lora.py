# %% [markdown]
# # 28. LoRA, and its gradient
#
# The book's appendix E. Finetuning changes every weight a little. LoRA learns the change alone, as a product of two
# thin matrices, and leaves the weights as they were.

# %%
import copy

import numpy as np

from tinygrad_gpt import Tensor, gradcheck
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.models.lora import apply_lora, merge_lora
from tinygrad_gpt.optim import AdamW

# %% [markdown]
# ## A layer with LoRA
#
# `y = x W + s · (x A) B`, with `W` (n, m) frozen, `A` (n, r) and `B` (r, m). The rank `r` is small. `s` is `alpha /
# r`, so that a change of the rank does not change the size of the update. (The book multiplies by alpha alone.)
#
# `A` starts at random and `B` at zero. So at the start the layer does what it did before.

# %%
generator = np.random.default_rng(0)
n, m, r, s = 6, 5, 2, 8 / 2
x, W = generator.normal(size=(4, n)), generator.normal(size=(n, m))
A, B = generator.normal(size=(n, r)), np.zeros((r, m))
g = generator.normal(size=(4, m))
print("unchanged at the start:", np.array_equal(x @ W + s * (x @ A) @ B, x @ W))
print("numbers to learn:", A.size + B.size, "in place of", W.size)

# prints:
#   unchanged at the start: True
#   numbers to learn: 22 in place of 30

# %% [markdown]
# ## Its gradient
#
# Two matrix products in a row (lesson 4). With `h = x A` and `g` the gradient of `y`:
#
#     B̄ = s · hᵀ g          Ā = s · xᵀ (g Bᵀ)
#
# At the start `B` is zero, so `A` gets no gradient in the first step; `B` moves first. If both were zero, neither
# would ever move. If neither were, the model would start spoilt.


# %%
def gradients(A, B):
    return s * x.T @ (g @ B.T), s * (x @ A).T @ g


def layer(A, B):
    return Tensor(x @ W) + s * ((Tensor(x) @ A) @ B)


for text, b in (("at the start", B), ("later", generator.normal(size=(r, m)))):
    ta, tb = Tensor(A, requires_grad=True), Tensor(b, requires_grad=True)
    layer(ta, tb).backward(g)
    by_hand = gradients(A, b)
    print(f"{text:12} as the engine: {np.allclose(ta.grad.numpy(), by_hand[0])}, "
          f"{np.allclose(tb.grad.numpy(), by_hand[1])}   A has a gradient: {by_hand[0].any()}")
report = gradcheck(lambda a, b: (layer(a, b) * Tensor(g)).sum(), A, generator.normal(size=(r, m)))
print("entries checked:", len(report.entries), "  wrong:", len(report.wrong))

# prints:
#   at the start as the engine: True, True   A has a gradient: False
#   later        as the engine: True, True   A has a gradient: True
#   entries checked: 22   wrong: 0

# %% [markdown]
# ## It is the gradient of W, seen through B
#
# The full gradient of `W` would be `xᵀ g`. `Ā` is that times `Bᵀ`, and `B̄` is `Aᵀ` times it. Nothing of the size of
# `W` has to be kept by the optimiser: this is where the memory is saved.

# %%
W_grad = x.T @ g
b = generator.normal(size=(r, m))
print(np.allclose(gradients(A, b)[0], s * W_grad @ b.T), np.allclose(gradients(A, b)[1], s * A.T @ W_grad))

# prints:
#   True True

# %% [markdown]
# ## How much is learnt in GPT-2?
#
# Rank 16 beside every linear layer of GPT-2 124M with two classes. The book prints 2,666,528 of 124,441,346.

# %%
block = [(768, 768)] * 4 + [(768, 3072), (3072, 768)]  # queries, keys, values, output; the feed-forward layer
trained = sum(16 * (a + b) for a, b in block * 12 + [(768, 2)])
whole = GPT2(GPT2Config(vocab_size=1, n_layer=1), seed=None)
total = whole.size + 11 * whole.h[0].size + 50256 * 768 + 768 * 2 + 2
print(f"{trained:,} of {total:,}: {trained / total:.1%}")

# prints:
#   2,666,528 of 124,441,346: 2.1%

# %% [markdown]
# ## In a model
#
# A small GPT learns ten sequences. Then the task changes: two of the forty tokens exchange their places everywhere.
# The trained model adapts, once with all weights and once with LoRA. `apply_lora` freezes a model and puts updates
# beside the layers that are named.


# %%
CONFIG = GPT2Config(vocab_size=40, n_ctx=12, n_embd=32, n_layer=2, n_head=2)
IDS = generator.integers(0, 40, (10, 13))
CHANGED = np.where(IDS == 1, 2, np.where(IDS == 2, 1, IDS))


def train(model, ids, lr, steps):
    """The loss before the last step."""
    optimizer = AdamW([p for p in model.parameters() if p.requires_grad], lr=lr, weight_decay=0.0)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model.loss(ids[:, :-1], ids[:, 1:])
        loss.backward()
        optimizer.step()
    return loss.item()


base = GPT2(CONFIG, seed=0).double()
print(f"trained:                      loss {train(base, IDS, 1e-2, 50):.2f}")
print(f"the task has changed:         loss {base.loss(CHANGED[:, :-1], CHANGED[:, 1:]).item():.2f}")
whole, thin = copy.deepcopy(base), copy.deepcopy(base)
print(f"all {whole.size:,} weights adapt: loss {train(whole, CHANGED, 3e-3, 15):.2f}")
apply_lora(thin, rank=4, alpha=8, targets=["q", "v", "mlp.c_fc", "mlp.c_proj"])
thin.double()
learn = sum(p.size for p in thin.parameters() if p.requires_grad)
print(f"LoRA, {learn:,} numbers:        loss {train(thin, CHANGED, 1e-2, 15):.2f}")
print("the old weights are as they were:", np.array_equal(base.wte.weight.numpy(), thin.wte.weight.numpy()))

# prints:
#   trained:                      loss 0.03
#   the task has changed:         loss 1.48
#   all 27,136 weights adapt: loss 0.08
#   LoRA, 3,584 numbers:        loss 0.13
#   the old weights are as they were: True

# %% [markdown]
# ## Merge
#
# After training, `W + s A B` is one matrix again, and using the model costs nothing more.

# %%
logits = thin(IDS[:, :-1]).numpy()
merge_lora(thin)
print("same after merging:", np.allclose(logits, thin(IDS[:, :-1]).numpy(), atol=1e-10))
print("size", thin.size, "  rank of an update", np.linalg.matrix_rank(A @ b))

# prints:
#   same after merging: True
#   size 27136   rank of an update 2

# %% [markdown]
# ## Try it
#
# Start `A` at zero and `B` at random. Is anything different?
