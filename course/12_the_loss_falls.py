# %% [markdown]
# # 12. "The loss falls" is no proof
#
# A wrong gradient rarely stops training. Here wrong rules are planted in a small GPT, one at a time, and each model
# is trained. Then two checks look for the fault.

# %%
import contextlib
import copy
import math

import numpy as np

from tinygrad_gpt import using_ops
from tinygrad_gpt.engine import OPS
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.optim import AdamW
from tinygrad_gpt.study.ledger import LIMITS, directions, findings, tangents
from tinygrad_gpt.study.trace import record

TEXT = ("a gradient says how the loss changes when a weight is moved. a wrong gradient says something else, and the "
        "weights are moved all the same. often the loss falls, because many wrong directions lead down too. ") * 2
LETTERS = sorted(set(TEXT))
TOKENS = np.array([LETTERS.index(c) for c in TEXT])
CONFIG = GPT2Config(vocab_size=len(LETTERS), n_ctx=24, n_embd=16, n_layer=2, n_head=2)
STEPS, BATCH = 50, 6

# %% [markdown]
# ## Plant a rule
#
# A wrong rule is an op, the numbers of the arguments whose gradients it changes, and how: a function of the right
# gradient, the arguments of the op, and the gradient of its result. `planted` puts it into the registry for a while.


# %%
@contextlib.contextmanager
def planted(name, numbers, change):
    form = OPS[name].plain
    wrong = copy.copy(form)

    def function(xp, *arrays, **settings):
        y, pullbacks = form.function(xp, *arrays, **settings)

        def grads(g):
            parts = pullbacks(g) if callable(pullbacks) else [pull and pull(g) for pull in pullbacks]
            return [change(part, arrays, g) if i in numbers and part is not None else part
                    for i, part in enumerate(parts[:len(arrays)])]

        return y, grads

    wrong.function = function
    OPS[name].plain = wrong
    try:
        yield
    finally:
        OPS[name].plain = form


def without_variance(part, arrays, g):
    x, weight, _ = arrays
    d = g * weight
    return (d - d.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)


def last_wins(part, arrays, g):
    lost = np.zeros_like(part)
    lost[arrays[1]] = g
    return lost


def not_scaled(part, arrays, g):
    width = g.shape[-1]
    wrong = part.copy()
    wrong[..., :2 * width] *= math.sqrt(width / CONFIG.n_head)  # those of queries and keys
    return wrong


def as_relu(part, arrays, g):
    return g * (arrays[0] + arrays[1] > 0)


RULES = {
    "all rules right": ("add", (0,), lambda part, *_: part),
    "loss not divided by the tokens": ("linear_cross_entropy", (0, 1), lambda part, arrays, g: part * arrays[2].size),
    "head gets no gradient": ("linear_cross_entropy", (1,), lambda part, *_: part * 0),
    "layer norm's rstd as a constant": ("layer_norm", (0,), without_variance),
    "layer norm's weight: mean for sum": ("layer_norm", (1,), lambda part, arrays, g: part * part.size / g.size),
    "layer norm's bias: wrong sign": ("layer_norm", (2,), lambda part, *_: -part),
    "linear's weight doubled": ("linear", (1,), lambda part, *_: 2 * part),
    "linear's bias gets no gradient": ("linear", (2,), lambda part, *_: part * 0),
    "attention's 1/√D forgotten": ("self_attention", (0,), not_scaled),
    "attention sends nothing back": ("self_attention", (0,), lambda part, *_: part * 0),
    "embedding: last of equal tokens": ("embedding", (0,), last_wins),
    "GELU with ReLU's slope": ("bias_gelu", (0,), as_relu),
    "linear's input: wrong sign": ("linear", (0,), lambda part, *_: -part),
}

# %% [markdown]
# ## Train with each
#
# Fifty steps of AdamW. Before training the loss is near the logarithm of the number of characters.


# %%
def batches():
    generator = np.random.default_rng(0)
    for _ in range(STEPS):
        starts = generator.integers(0, len(TOKENS) - CONFIG.n_ctx - 1, BATCH)
        windows = np.array([TOKENS[start:start + CONFIG.n_ctx + 1] for start in starts])
        yield windows[:, :-1], windows[:, 1:]


def train():
    """The mean loss of the last ten steps."""
    model = GPT2(CONFIG, seed=0).to(np.float64)
    optimizer = AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    losses = []
    for ids, targets in batches():
        optimizer.zero_grad()
        loss = model.loss(ids, targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return float(np.mean(losses[-10:]))


ids, targets = next(iter(batches()))
start = GPT2(CONFIG, seed=0).loss(ids, targets).item()
print(f"characters {len(LETTERS)}   loss before training {start:.2f}")
final = {}
with using_ops("plain"):
    for text, rule in RULES.items():
        with planted(*rule):
            final[text] = train()
        share = (start - final[text]) / (start - final["all rules right"])
        print(f"{text:34} loss {final[text]:.2f}   learnt {share:4.0%} of what the right rules do")

# prints:
#   characters 23   loss before training 3.15
#   all rules right                    loss 2.17   learnt 100% of what the right rules do
#   loss not divided by the tokens     loss 2.17   learnt 100% of what the right rules do
#   head gets no gradient              loss 2.61   learnt  55% of what the right rules do
#   layer norm's rstd as a constant    loss 2.79   learnt  36% of what the right rules do
#   layer norm's weight: mean for sum  loss 2.17   learnt 100% of what the right rules do
#   layer norm's bias: wrong sign      loss 2.17   learnt 100% of what the right rules do
#   linear's weight doubled            loss 2.17   learnt 100% of what the right rules do
#   linear's bias gets no gradient     loss 2.08   learnt 109% of what the right rules do
#   attention's 1/√D forgotten         loss 2.17   learnt 100% of what the right rules do
#   attention sends nothing back       loss 2.16   learnt 101% of what the right rules do
#   embedding: last of equal tokens    loss 2.15   learnt 102% of what the right rules do
#   GELU with ReLU's slope             loss 2.10   learnt 107% of what the right rules do
#   linear's input: wrong sign         loss 2.72   learnt  43% of what the right rules do

# %% [markdown]
# ## Two checks
#
# The first asks what many test suites ask: does each parameter have a gradient, finite and not all zero? The second
# is the ledger of lesson 11, with which op it names.


# %%
def looked_at(model):
    """What two checks say of one step: the simple one, and the ledger."""
    trace = record(lambda: model.loss(ids, targets), model.named_parameters(), model.named_modules())
    grads = [trace.leaf(name).grad for name, _ in model.named_parameters()]
    simple = all(grad is not None and np.isfinite(grad).all() and grad.any() for grad in grads)
    found = findings(trace, tangents(trace, directions(model.named_parameters())), LIMITS["float64"])
    return simple, sorted({finding.step.label for finding in found})


model = GPT2(CONFIG, seed=0)
generator = np.random.default_rng(1)
for parameter in model.parameters():
    parameter.data = generator.normal(0, 0.3, parameter.shape)
passed, named = 0, 0
with using_ops("plain"):
    for text, rule in RULES.items():
        with planted(*rule):
            simple, wrong = looked_at(model)
        if text == "all rules right":
            print("all rules right: simple check passes:", simple, "  ledger names:", wrong)
            continue
        passed += simple
        named += wrong == [rule[0]]
print("of", len(RULES) - 1, "wrong rules the simple check lets pass", passed, "and the ledger names", named)

# prints:
#   all rules right: simple check passes: True   ledger names: []
#   of 12 wrong rules the simple check lets pass 10 and the ledger names 12

# %% [markdown]
# So use a check that compares numbers: `gradcheck` for a function, the ledger for a whole model. And watch training
# for what it can tell: whether the model learns, not whether the gradient is right.
#
# ## Try it
#
# Some wrong rules train better than the right ones here. Why does that not make them right? Plant one of your own.
