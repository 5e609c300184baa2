# %% [markdown]
# # 29. The cache of keys and values
#
# The loop of lesson 19 reads the whole text again for each new token. Nothing of it has changed: under the causal
# mask earlier tokens do not see later ones. So keep what later tokens need of them, which is keys and values.

# %%
import math

import numpy as np

from tinygrad_gpt import no_grad
from tinygrad_gpt.errors import TapeError
from tinygrad_gpt.runs.saved_model import load_model

# %% [markdown]
# ## One layer by hand
#
# The new token asks with its query. It needs the keys and values of all tokens so far, but no other query: the
# answers to those were given when their tokens were new.

# %%
generator = np.random.default_rng(0)
T, D = 6, 4
q, k, v = generator.normal(size=(3, T, D))


def softmax(s):
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


scores = np.where(np.tri(T, dtype=bool), q @ k.T / math.sqrt(D), -np.inf)
at_once = softmax(scores) @ v

keys, values, one_by_one = np.zeros((0, D)), np.zeros((0, D)), []
for t in range(T):
    keys, values = np.vstack([keys, k[t]]), np.vstack([values, v[t]])
    one_by_one.append(softmax(q[t] @ keys.T / math.sqrt(D)) @ values)
print("the same answers:", np.allclose(at_once, one_by_one))

# prints:
#   the same answers: True

# %% [markdown]
# ## In the model
#
# The storyteller reads a beginning once and then token by token. Its scores are those of reading everything.

# %%
saved = load_model("storyteller")
model, tokenizer = saved.model, saved.tokenizer
ids = [tokenizer.eot_id, *tokenizer.encode("The little boy ran to the river. There he saw")]
with no_grad():
    whole = model(np.array([ids])).numpy()[0]
    cache = model.new_cache(batch=1)
    read = [model(np.array([ids[:4]]), cache).numpy()[0]]
    read += [model(np.array([[i]]), cache).numpy()[0] for i in ids[4:]]
print("logits agree to 1e-4:", np.abs(np.concatenate(read) - whole).max() < 1e-4)


def write(n_new, with_cache):
    written, cache = list(ids), model.new_cache(batch=1)
    new, multiplied = written, 0
    for _ in range(n_new):
        with no_grad():
            logits = model(np.array([new if with_cache else written]), cache if with_cache else None)
        multiplied += len(new if with_cache else written)
        new = [int(logits.numpy()[0, -1].argmax())]
        written = written + new
    return written, multiplied


(with_it, few), (without, many) = write(12, True), write(12, False)
print("the same text:", with_it == without)
print(tokenizer.decode(with_it[1:]))
print("tokens computed: with the cache", few, " without", many)

# prints:
#   logits agree to 1e-4: True
#   the same text: True
#   The little boy ran to the river. There he saw a big tree. He saw a big tree. He saw
#   tokens computed: with the cache 23  without 210

# %% [markdown]
# Without the cache the number of tokens computed grows with the square of the length, with it in proportion. (The work
# of attention grows faster by one power of the length in both.)
#
# ## What it costs
#
# Memory: two vectors of the model's width for each token and layer. For GPT-2 124M with its whole context in float32:

# %%
layers, width, context = 12, 768, 1024
print(f"a token {2 * layers * width * 4 / 1024:.0f} KiB, a context {2 * layers * width * 4 * context / 2**20:.0f} MiB")

# prints:
#   a token 72 KiB, a context 72 MiB

# %% [markdown]
# ## What it forbids
#
# - When the context is full the oldest token must go, and with it every position moves: the cached keys know their
#   old positions. So the text is cut and read anew.
# - The cached values are on no tape. To train, all tokens are computed together, and that is the efficient way
#   anyway.

# %%
try:
    model(np.array([ids]), model.new_cache(batch=1))
except TapeError as error:
    print(str(error).split(";")[0])

# prints:
#   GPT2: a pass with a cache is on no tape

# %% [markdown]
# ## Try it
#
# Let several heads share one key and one value ("multi-query attention"). By which factor is the cache smaller in
# GPT-2?
