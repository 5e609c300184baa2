# %% [markdown]
# # 9. Attention
#
# Each token asks a question (its query). The token itself and every earlier one offer a label (its key) and something
# to say (its value). The answer is an average of the values, weighted by how well query and key fit.

# %%
import math

import numpy as np

from tinygrad_gpt import Tensor, ops

generator = np.random.default_rng(3)
T, D = 4, 3
q, k, v, g = (generator.normal(size=(T, D)) for _ in range(4))
past = np.tri(T, dtype=bool)  # token i sees the tokens up to i


def softmax(s):
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)

# %% [markdown]
# ## Forward
#
# Three lines: products of queries and keys, softmax over what may be seen, average.

# %%
scale = 1 / math.sqrt(D)
S = np.where(past, q @ k.T * scale, -np.inf)
A = softmax(S)
y = A @ v
print("weights of the past\n", A.round(3))

# prints:
#   weights of the past
#    [[1.    0.    0.    0.   ]
#    [0.591 0.409 0.    0.   ]
#    [0.563 0.365 0.073 0.   ]
#    [0.022 0.017 0.2   0.76 ]]

# %% [markdown]
# ## Backward
#
# The same three lines, from the last to the first. All of it is known: a matrix product (lesson 4), softmax (lesson
# 5), a matrix product. The mask needs no line of its own: where a weight is 0, softmax's rule multiplies by 0.

# %%
v_grad = A.T @ g  # y = A v
A_grad = g @ v.T  # y = A v
S_grad = A * (A_grad - (A_grad * A).sum(axis=-1, keepdims=True))  # A = softmax(S)
q_grad = scale * S_grad @ k  # S = scale · q kᵀ
k_grad = scale * S_grad.T @ q  # S = scale · q kᵀ

tensors = [Tensor(a.reshape(1, 1, T, D), requires_grad=True) for a in (q, k, v)]
ops.attention(*tensors).backward(g.reshape(1, 1, T, D))
for name, t, by_hand in zip("qkv", tensors, (q_grad, k_grad, v_grad), strict=True):
    print(name, "as the engine:", np.allclose(t.grad.numpy()[0, 0], by_hand))

# prints:
#   q as the engine: True
#   k as the engine: True
#   v as the engine: True

# %% [markdown]
# ## The future has no influence
#
# What token 0 answers depends on token 0 alone. So if only the first answer has a gradient, the later keys and values
# get exactly zero.

# %%
first = np.zeros_like(g)
first[0] = g[0]
print("gradient of the values, row by row:", (A.T @ first).any(axis=-1).tolist())

# prints:
#   gradient of the values, row by row: [True, False, False, False]

# %% [markdown]
# ## The bias of the keys has no gradient
#
# Add the same vector `b` to all keys. Every score of a query moves by the same `q · b`, and softmax does not see a
# shift. So a third of the bias of GPT-2's `c_attn` can never learn anything: its gradient is zero up to rounding. A
# check of "the gradient is there and not zero" would call this correct rule broken.

# %%
key_bias_grad = k_grad.sum(axis=0)
print("gradient of a bias of the keys:   ", abs(key_bias_grad.round(12)))
print("gradient of a bias of the queries:", q_grad.sum(axis=0).round(4))

# prints:
#   gradient of a bias of the keys:    [0. 0. 0.]
#   gradient of a bias of the queries: [0.0249 0.0087 0.0031]

# %% [markdown]
# ## Why divide by √D?
#
# The product of two random vectors of length `D` has the variance `D`. Without the division softmax would be nearly
# one-hot at the start, and where a weight is 0 or 1 its gradient `A (1 − A)` vanishes.

# %%
for size in (4, 64, 1024):
    a, b = generator.normal(size=(2, 400, size))
    scores = (a * b).sum(axis=-1).reshape(50, 8)
    plain, scaled = softmax(scores), softmax(scores / math.sqrt(size))
    print(f"D = {size:4}   mean A(1 − A): without {np.mean(plain * (1 - plain)):.3f}   "
          f"with {np.mean(scaled * (1 - scaled)):.3f}")

# prints:
#   D =    4   mean A(1 − A): without 0.067   with 0.094
#   D =   64   mean A(1 − A): without 0.017   with 0.095
#   D = 1024   mean A(1 − A): without 0.006   with 0.096

# %% [markdown]
# ## Several heads
#
# GPT-2 124M has 12 heads of 64 numbers in place of one of 768. They do the same side by side; splitting and joining
# only moves numbers, so on the way back it moves gradients.

# %%
qkv = Tensor(generator.normal(size=(1, T, 3 * 6)), requires_grad=True)  # width 6: two heads of 3
out = ops.self_attention(qkv, n_head=2)
out.backward(generator.normal(size=out.shape))
print("in", qkv.shape, " out", out.shape, " gradient", qkv.grad.shape)

# prints:
#   in (1, 4, 18)  out (1, 4, 6)  gradient (1, 4, 18)

# %% [markdown]
# ## Try it
#
# Leave out `scale` in `q_grad` and `k_grad`. By which factor is each of them wrong? Would the loss still fall?
