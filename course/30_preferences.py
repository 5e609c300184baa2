# %% [markdown]
# # 30. Preferences, and the gradient of DPO
#
# After instructions (lesson 25) a model can be shown pairs of answers, one preferred to the other. Direct preference
# optimisation makes the first more probable and the second less, measured against the model as it was.

# %%
import math

import numpy as np

from tinygrad_gpt import Tensor, gradcheck, no_grad
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.optim import AdamW
from tinygrad_gpt.recipes.instructions.preferences import dpo_loss, log_probabilities

# %% [markdown]
# ## The loss
#
# With `p` the log-probability of an answer, and `p₀` the same before training:
#
#     margin = (p(chosen) − p₀(chosen)) − (p(rejected) − p₀(rejected))
#     loss   = −ln σ(β · margin)
#
# Before training the margin is 0 and the loss is ln 2, or 0.6931: the number that the book's notebook starts from.

# %%
beta = 0.1


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


for margin in (-10, 0, 2, 10, 50):
    print(f"margin {margin:3}   loss {-math.log(sigmoid(beta * margin)):.4f}")

# prints:
#   margin -10   loss 1.3133
#   margin   0   loss 0.6931
#   margin   2   loss 0.5981
#   margin  10   loss 0.3133
#   margin  50   loss 0.0067

# %% [markdown]
# ## Its gradient
#
# The derivative of `−ln σ(z)` is `−σ(−z)`. So with `w = β · σ(−β · margin)` the gradient is `−w` for the chosen
# answer and `+w` for the rejected one. Pairs that the model has got right already have a small `w`: the loss lets
# them be. β says how soon.

# %%
before = np.array([-20.0, -22.0, -30.0]), np.array([-21.0, -20.0, -33.0])  # chosen, rejected, of three pairs
now = np.array([-19.0, -25.0, -15.0]), np.array([-24.0, -21.0, -45.0])
margins = (now[0] - before[0]) - (now[1] - before[1])
w = np.array([beta * sigmoid(-beta * margin) for margin in margins]) / len(margins)  # the loss is a mean
chosen, rejected = (Tensor(a, requires_grad=True) for a in now)
dpo_loss(chosen, rejected, *map(Tensor, before), beta).backward()
print("margins", margins)
print("by hand    ", (-w).round(6), w.round(6))
print("by engine  ", chosen.grad.numpy().round(6), rejected.grad.numpy().round(6))
report = gradcheck(lambda a, b: dpo_loss(a, b, *map(Tensor, before), beta), *now)
print("wrong entries:", len(report.wrong), "of", len(report.entries))

# prints:
#   margins [ 4. -2. 27.]
#   by hand     [-0.013377 -0.018328 -0.002099] [0.013377 0.018328 0.002099]
#   by engine   [-0.013377 -0.018328 -0.002099] [0.013377 0.018328 0.002099]
#   wrong entries: 0 of 6

# %% [markdown]
# ## Further back
#
# The log-probability of an answer is a sum over its tokens, so the weight `w` multiplies what lesson 5 found for each
# of them: `p − one-hot` for a chosen token, and the negative of that for a rejected one. Where both answers have the
# same token after the same words, the two cancel. Only the difference is learnt.
#
# ## In a model
#
# A small GPT has learnt to continue 0 with 1 or 2, equally often. The preference: 1.


# %%
CONFIG = GPT2Config(vocab_size=8, n_ctx=6, n_embd=16, n_layer=1, n_head=2)
ENDINGS = np.array([[0, 1, 3, 7], [0, 2, 3, 7]])  # 7 ends


def optimise(model, loss, steps, lr):
    optimizer = AdamW(model.parameters(), lr=lr, weight_decay=0.0)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()


def log_p(model):
    """Of both answers."""
    return log_probabilities(model, ENDINGS[:, :-1], ENDINGS[:, 1:], mean=False)


model = GPT2(CONFIG, seed=0).double()
optimise(model, lambda: model.loss(ENDINGS[:, :-1], ENDINGS[:, 1:]), 60, 1e-2)
with no_grad():
    start = log_p(model).numpy()
print("probabilities after 0 of 1 and 2:", np.exp(start).round(2))


def preference():
    p = log_p(model)
    return dpo_loss(p[:1], p[1:], Tensor(start[:1]), Tensor(start[1:]), beta)


print(f"loss before {preference().item():.4f}")
optimise(model, preference, 30, 3e-3)
with no_grad():
    end = log_p(model).numpy()
print(f"loss after  {preference().item():.4f}   margin {(end - start)[0] - (end - start)[1]:.1f}")
print("probabilities:", np.exp(end).round(2))

# prints:
#   probabilities after 0 of 1 and 2: [0.5  0.49]
#   loss before 0.6931
#   loss after  0.2550   margin 12.4
#   probabilities: [0.96 0.  ]

# %% [markdown]
# ## What it does not promise
#
# The loss sees only the difference of two log-probabilities. Both may fall, as long as the rejected one falls faster;
# then the probability goes to answers that nobody asked for. So watch the probability of the chosen answers too.

# %%
print("chosen rose:", bool(end[0] > start[0]), "  elsewhere before and after:", (1 - np.exp(start).sum()).round(2),
      (1 - np.exp(end).sum()).round(2))

# prints:
#   chosen rose: True   elsewhere before and after: 0.01 0.04

# %% [markdown]
# `python cli.py finetune preferences` does this with a file of pairs.
#
# ## Try it
#
# Take β = 1. How large is the margin after the same 30 steps, and why?
