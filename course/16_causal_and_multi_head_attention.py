# %% [markdown]
# # 16. Causal attention, dropout, several heads
#
# The book's sections 3.5 and 3.6. A model that predicts the next word must not see it. The numbers are the book's.

# %%
import numpy as np

import tinygrad_gpt as tg
from tinygrad_gpt import Tensor, nn, ops

X = Tensor(np.array([[0.43, 0.15, 0.89], [0.55, 0.87, 0.66], [0.57, 0.85, 0.64],
                     [0.22, 0.58, 0.33], [0.77, 0.25, 0.10], [0.05, 0.80, 0.55]], np.float32))
BATCH = ops.stack(X, X)  # two copies of the six words: (2, 6, 3)
PAST = np.tri(6, dtype=bool)

# %% [markdown]
# ## The mask, in two ways
#
# Either compute all weights, set those of the future to zero and divide each row by what is left. Or set the scores
# of the future to minus infinity before softmax. Both give the same weights; the second does it in one step.

# %%
tg.manual_seed(789)
query, key, value = (nn.Linear(3, 2, bias=False) for _ in range(3))
scores = query(X) @ key(X).T / 2**0.5
weights = ops.softmax(scores).numpy() * PAST
divided = weights / weights.sum(axis=1, keepdims=True)
masked = ops.softmax(ops.where(PAST, scores, -np.inf)).numpy()
print(masked.round(4))
print("both ways the same:", np.allclose(divided, masked, atol=1e-6))

# prints:
#   [[1.     0.     0.     0.     0.     0.    ]
#    [0.5517 0.4483 0.     0.     0.     0.    ]
#    [0.38   0.3097 0.3103 0.     0.     0.    ]
#    [0.2758 0.246  0.2462 0.2319 0.     0.    ]
#    [0.2175 0.1983 0.1984 0.1888 0.1971 0.    ]
#    [0.1935 0.1663 0.1666 0.1542 0.1666 0.1529]]
#   both ways the same: True

# %% [markdown]
# ## Dropout
#
# In training some weights are set to zero at random, so that no word relies on a single other one. The rest is scaled
# up, here by 2, so that the mean stays. In use nothing is dropped.

# %%
drop = nn.Dropout(0.5)
tg.manual_seed(123)
print(drop(Tensor(np.ones((6, 6), np.float32))).numpy().astype(int))
drop.eval()
print("in use:", drop(Tensor(np.ones(3, np.float32))).numpy())

# prints:
#   [[2 2 0 2 2 0]
#    [0 0 0 2 0 2]
#    [2 2 2 2 0 2]
#    [0 2 2 0 0 2]
#    [0 2 0 2 0 2]
#    [0 2 2 2 2 0]]
#   in use: [1. 1. 1.]

# %% [markdown]
# ## Causal attention for batches


# %%
class CausalAttention(nn.Module):
    """(B, T, n_in) -> (B, T, n_out); a word sees itself and what stands before it."""

    def __init__(self, n_in, n_out, context, dropout=0.0):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(n_in, n_out, bias=False) for _ in range(3))
        self.dropout = nn.Dropout(dropout)
        self.past = np.tri(context, dtype=bool)

    def forward(self, x):
        length = x.shape[1]
        q, k, v = self.query(x), self.key(x), self.value(x)
        scores = q @ k.transpose(1, 2) / k.shape[-1]**0.5
        weights = ops.softmax(ops.where(self.past[:length, :length], scores, -np.inf))
        return self.dropout(weights) @ v


tg.manual_seed(123)
print(CausalAttention(3, 2, context=6)(BATCH)[0].numpy().round(4))

# prints:
#   [[-0.4519  0.2216]
#    [-0.5874  0.0058]
#    [-0.63   -0.0632]
#    [-0.5675 -0.0843]
#    [-0.5526 -0.0981]
#    [-0.5299 -0.1081]]

# %% [markdown]
# ## Heads side by side
#
# One average is one way to look at a text. Several heads, each with its own three matrices, look in several ways;
# their results are put side by side.


# %%
class HeadsSideBySide(nn.Module):
    def __init__(self, n_in, n_out, context, n_head):
        super().__init__()
        self.heads = nn.ModuleList([CausalAttention(n_in, n_out, context) for _ in range(n_head)])

    def forward(self, x):
        return ops.concat(*[head(x) for head in self.heads], axis=-1)


tg.manual_seed(123)
print(HeadsSideBySide(3, 2, context=6, n_head=2)(BATCH)[0].numpy().round(4))

# prints:
#   [[-0.4519  0.2216  0.4772  0.1063]
#    [-0.5874  0.0058  0.5891  0.3257]
#    [-0.63   -0.0632  0.6202  0.386 ]
#    [-0.5675 -0.0843  0.5478  0.3589]
#    [-0.5526 -0.0981  0.5321  0.3428]
#    [-0.5299 -0.1081  0.5077  0.3493]]

# %% [markdown]
# ## One product, then split
#
# Two heads of width 1 are one matrix of width 2 whose columns are dealt out. So one product makes the queries of all
# heads, and a reshape separates them. The last layer lets the heads talk. This is what GPT-2 does.


# %%
class MultiHeadAttention(nn.Module):
    def __init__(self, n_in, n_out, context, n_head, dropout=0.0):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(n_in, n_out, bias=False) for _ in range(3))
        self.out = nn.Linear(n_out, n_out)
        self.dropout, self.n_head, self.past = nn.Dropout(dropout), n_head, np.tri(context, dtype=bool)

    def split(self, x):
        """(B, T, C) -> (B, H, T, C / H)"""
        batch, length, width = x.shape
        return x.reshape(batch, length, self.n_head, width // self.n_head).transpose(1, 2)

    def forward(self, x):
        batch, length, _ = x.shape
        q, k, v = (self.split(layer(x)) for layer in (self.query, self.key, self.value))
        scores = q @ k.transpose(2, 3) / k.shape[-1]**0.5
        weights = self.dropout(ops.softmax(ops.where(self.past[:length, :length], scores, -np.inf)))
        return self.out((weights @ v).transpose(1, 2).reshape(batch, length, -1))


tg.manual_seed(123)
attention = MultiHeadAttention(3, 2, context=6, n_head=2)
print(attention(BATCH)[0].numpy().round(4))

# prints:
#   [[0.319  0.4858]
#    [0.2943 0.3897]
#    [0.2856 0.3593]
#    [0.2693 0.3873]
#    [0.2639 0.3928]
#    [0.2575 0.4028]]

# %% [markdown]
# ## In one op
#
# The package has all of this in one op with one gradient, which keeps less in memory.

# %%
q, k, v = (attention.split(layer(BATCH)) for layer in (attention.query, attention.key, attention.value))
y = attention.out(ops.attention(q, k, v).transpose(1, 2).reshape(2, 6, 2))
print("same:", np.allclose(y.numpy(), attention(BATCH).numpy(), atol=1e-6))

# prints:
#   same: True

# %% [markdown]
# ## Try it
#
# How many parameters has attention in GPT-2 124M, with width 768, 12 heads and no biases but that of the last layer?
# The book's answer in chapter 4 is 2,360,064.
