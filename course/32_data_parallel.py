# %% [markdown]
# # 32. Data parallelism
#
# Several machines train one model: each computes the gradient of a part of the batch, and all take the same step with
# the mean. Done right, the result is that of one machine with the whole batch. Here the machines are two copies in
# one program, so that every number can be compared.

# %%
import copy

import numpy as np

from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.optim import AdamW
from tinygrad_gpt.train import relative_counts

CONFIG = GPT2Config(vocab_size=30, n_ctx=10, n_embd=16, n_layer=2, n_head=2)
IDS = np.random.default_rng(0).integers(0, 30, (4, 11))


def gradients(model, ids, targets, factor=1.0):
    model.zero_grad()
    (model.loss(ids, targets) * factor).backward()
    return {name: p.grad.numpy() for name, p in model.named_parameters()}


def mean(*parts):
    return {name: sum(part[name] for part in parts) / len(parts) for name in parts[0]}


def furthest(a, b):
    return max(np.abs(a[name] - b[name]).max() for name in a) / max(np.abs(g).max() for g in a.values())

# %% [markdown]
# ## Two halves are one batch
#
# The loss is a mean over tokens, and the derivative of a mean is the mean of the derivatives. So the gradients of the
# two halves are averaged.

# %%
model = GPT2(CONFIG, seed=0).double()
inputs, targets = IDS[:, :-1], IDS[:, 1:]
whole = gradients(model, inputs, targets)
halves = [gradients(model, inputs[rows], targets[rows]) for rows in (slice(0, 2), slice(2, 4))]
print("mean of two halves, as the whole:", furthest(whole, mean(*halves)) < 1e-12)

# prints:
#   mean of two halves, as the whole: True

# %% [markdown]
# ## Unequal halves
#
# With padding the halves have different numbers of tokens that count. The mean of two means is then not the mean of
# all: a token in the shorter half weighs more. The remedy is a factor for each half, its share of the tokens.

# %%
padded = targets.copy()
padded[0, 3:] = -100
padded[1, 5:] = -100
counts = [int((padded[rows] != -100).sum()) for rows in (slice(0, 2), slice(2, 4))]
whole = gradients(model, inputs, padded)
plain = [gradients(model, inputs[rows], padded[rows]) for rows in (slice(0, 2), slice(2, 4))]
factors = relative_counts(counts)
weighted = [gradients(model, inputs[rows], padded[rows], factor)
            for rows, factor in zip((slice(0, 2), slice(2, 4)), factors, strict=True)]
print("tokens that count:", counts, "  factors:", [round(f, 4) for f in factors])
print(f"plain mean off by {furthest(whole, mean(*plain)):.0%} of the largest gradient; weighted as the whole:",
      furthest(whole, mean(*weighted)) < 1e-12)

# prints:
#   tokens that count: [8, 20]   factors: [0.5714, 1.4286]
#   plain mean off by 54% of the largest gradient; weighted as the whole: True

# %% [markdown]
# ## Many steps
#
# Each copy keeps its own weights and its own optimiser. They see the same mean gradient and so make the same step,
# bit for bit; nobody has to send weights around.

# %%
copies = [copy.deepcopy(model) for _ in range(2)]
optimizers = [AdamW(each.parameters(), lr=1e-2) for each in copies]
alone = copy.deepcopy(model)
one = AdamW(alone.parameters(), lr=1e-2)
for _ in range(10):
    parts = [gradients(each, inputs[rows], targets[rows])
             for each, rows in zip(copies, (slice(0, 2), slice(2, 4)), strict=True)]
    shared = mean(*parts)
    for each, optimizer in zip(copies, optimizers, strict=True):
        for name, p in each.named_parameters():
            p.grad.data = shared[name]
        optimizer.step()
    gradients(alone, inputs, targets)
    one.step()
first, second = (each.arrays() for each in copies)
print("copies equal bit for bit:", all(np.array_equal(first[name], second[name]) for name in first))
print("as one machine to 1e-9:  ", max(np.abs(first[n] - a).max() for n, a in alone.arrays().items()) < 1e-9)

# prints:
#   copies equal bit for bit: True
#   as one machine to 1e-9:   True

# %% [markdown]
# ## How the mean is made
#
# With many machines nobody collects everything. They stand in a ring and each cuts its gradient into as many pieces
# as there are machines. In each round each machine passes one piece to its neighbour, which adds its own: after `n −
# 1` rounds each machine holds one finished piece, and `n − 1` rounds more hand the finished pieces on.


# %%
def ring_sum(vectors):
    """The sum on every machine, and how many numbers each has sent."""
    n = len(vectors)
    pieces = [np.array_split(v.copy(), n) for v in vectors]
    sent = 0
    for phase in ("add", "replace"):
        for turn in range(n - 1):
            moving = []
            for i in range(n):
                piece = (i - turn + (phase == "replace")) % n
                moving.append(((i + 1) % n, piece, pieces[i][piece].copy()))
            for to, piece, numbers in moving:
                pieces[to][piece] = pieces[to][piece] + numbers if phase == "add" else numbers
            sent += len(moving[0][2])
    return [np.concatenate(p) for p in pieces], sent


vectors = np.random.default_rng(1).normal(size=(4, 1000))
sums, sent = ring_sum(vectors)
print("right on all four:", all(np.allclose(s, vectors.sum(axis=0)) for s in sums))
print("numbers in a vector:", vectors.shape[1], "  sent by each:", sent)

# prints:
#   right on all four: True
#   numbers in a vector: 1000   sent by each: 1500

# %% [markdown]
# Each machine sends less than twice the gradient, however many machines there are.
#
# ## Gradient accumulation is the same
#
# One machine with too little memory computes the halves one after another and adds them up, because `backward` adds
# (lesson 2). The same factors are needed.

# %%
model.zero_grad()
for rows, factor in zip((slice(0, 2), slice(2, 4)), factors, strict=True):
    (model.loss(inputs[rows], padded[rows]) * (factor / 2)).backward()
print("accumulated, as the whole:", furthest(whole, {n: p.grad.numpy() for n, p in model.named_parameters()}) < 1e-12)

# prints:
#   accumulated, as the whole: True

# %% [markdown]
# This package does it in processes that `mpiexec` starts: `docs/parallel.md`.
#
# ## Try it
#
# Clip each half's gradient before averaging, and compare with clipping the mean. Which one does a single machine do?
