# %% [markdown]
# # 23. Saving, loading, and other people's weights
#
# The book's sections 5.4 and 5.5. Weights are arrays with names. To load them somewhere else, names and layouts must
# be translated; and a training that is to go on needs more than the weights.

# %%
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np

import tinygrad_gpt as tg
from tinygrad_gpt import no_grad, ops
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.optim import AdamW
from tinygrad_gpt.runs.saved_model import load_model

folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## Weights alone are not enough to go on
#
# AdamW (lesson 10) remembers two averages of each weight's gradient. Here ten steps are trained in one piece, and in
# two pieces with a file between them: once with the optimiser's state, once without.


# %%
CONFIG = GPT2Config(vocab_size=30, n_ctx=8, n_embd=16, n_layer=1, n_head=2)
IDS = np.random.default_rng(0).integers(0, 30, (10, 4, 9))


def steps(model, optimizer, numbers):
    for i in numbers:
        optimizer.zero_grad()
        loss = model.loss(IDS[i][:, :-1], IDS[i][:, 1:])
        loss.backward()
        optimizer.step()
    return loss.item()


def new():
    model = GPT2(CONFIG, seed=0)
    return model, AdamW(model.parameters(), lr=1e-2)


whole = steps(*new(), range(10))
model, optimizer = new()
steps(model, optimizer, range(5))
tg.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, folder / "half.pth")

read = tg.load(folder / "half.pth")
for name, with_state in (("with the optimiser's state", True), ("weights only", False)):
    model, optimizer = new()
    model.load_state_dict(read["model"])
    if with_state:
        optimizer.load_state_dict(read["optimizer"])
    print(f"{name:27} the last loss is the same: {steps(model, optimizer, range(5, 10)) == whole}")

# prints:
#   with the optimiser's state  the last loss is the same: True
#   weights only                the last loss is the same: False

# %% [markdown]
# ## The format that others read
#
# `save_pretrained` writes two files: the sizes as JSON, the weights as safetensors. They hold arrays and no program,
# so that reading a stranger's model runs no code of the stranger.

# %%
saved = load_model("storyteller")
saved.model.save_pretrained(folder / "story")
print(sorted(path.name for path in (folder / "story").iterdir()))
config = json.loads((folder / "story" / "config.json").read_text())
print({name: config[name] for name in ("n_layer", "n_head", "n_embd", "vocab_size")})
again = GPT2.from_pretrained(folder / "story")
print("the same weights:", all(np.array_equal(a, again.arrays()[name]) for name, a in saved.model.arrays().items()))
shutil.rmtree(folder)

# prints:
#   ['config.json', 'model.safetensors']
#   {'n_layer': 8, 'n_head': 4, 'n_embd': 192, 'vocab_size': 4096}
#   the same weights: True

# %% [markdown]
# ## Names and layouts
#
# GPT-2's layers are called `h.0.attn.c_attn` and the like. Three things have to be known to use them in code of one's
# own:
#
# 1. `c_attn` holds queries, keys and values side by side, each of the model's width;
# 2. its matrices are (in, out), while PyTorch's `Linear` keeps (out, in);
# 3. there is no head: the token embedding is used again.
#
# Here is a GPT-2 in twenty lines that reads the arrays and nothing else.

# %%
W = saved.model.arrays()
n_head = saved.model.config.n_head


def linear(x, name):
    return x @ W[f"{name}.weight"] + W[f"{name}.bias"]


def norm(x, name):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * W[f"{name}.weight"] + W[f"{name}.bias"]


def heads(x):
    return x.reshape(len(x), n_head, -1).swapaxes(0, 1)  # (T, C) -> (H, T, D)


def logits(ids):
    x = W["wte.weight"][ids] + W["wpe.weight"][:len(ids)]
    for i in range(saved.model.config.n_layer):
        q, k, v = (heads(part) for part in np.split(linear(norm(x, f"h.{i}.ln_1"), f"h.{i}.attn.c_attn"), 3, axis=-1))
        scores = np.where(np.tri(len(ids), dtype=bool), q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1]), -np.inf)
        a = np.exp(scores - scores.max(-1, keepdims=True))
        y = (a / a.sum(-1, keepdims=True)) @ v
        x = x + linear(y.swapaxes(0, 1).reshape(x.shape), f"h.{i}.attn.c_proj")
        wide = linear(norm(x, f"h.{i}.ln_2"), f"h.{i}.mlp.c_fc")
        x = x + linear(ops.gelu(tg.tensor(wide)).numpy(), f"h.{i}.mlp.c_proj")
    return norm(x, "ln_f") @ W["wte.weight"].T


ids = [saved.tokenizer.eot_id, *saved.tokenizer.encode("Once upon a time there was a")]
with no_grad():
    theirs = saved.model(np.array([ids])).numpy()[0]
print("logits agree to 1e-3:", np.abs(logits(ids) - theirs).max() < 1e-3)
best = np.argsort(-logits(ids)[-1])[:4]
print("next words:", [saved.tokenizer.decode([i]) for i in best.tolist()])

# prints:
#   logits agree to 1e-3: True
#   next words: [' little', ' boy', ' big', ' small']

# %% [markdown]
# ## A wrong layout is silent
#
# Queries and keys exchanged, or a square matrix transposed: the shapes fit, and the model talks nonsense. The loss of
# a known text tells.


# %%
def loss(ids):
    z = logits(ids[:-1])
    return ops.cross_entropy(tg.tensor(z), np.array(ids[1:])).item()


right = loss(ids)
W["h.0.attn.c_proj.weight"] = W["h.0.attn.c_proj.weight"].T
print(f"loss {right:.2f}; with one matrix transposed {loss(ids):.2f}")

# prints:
#   loss 0.39; with one matrix transposed 2.15

# %% [markdown]
# GPT-2 as OpenAI trained it is read in the same way: `python cli.py download gpt2`, then `load_model("gpt2")`. What
# the book prints with those weights is compared by `python cli.py book`.
#
# ## Try it
#
# Exchange the thirds of `c_attn` in one block. How much does the loss rise? And in the last block?
