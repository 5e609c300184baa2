# %% [markdown]
# # 15. Self-attention, without and with weights
#
# The book's sections 3.3 and 3.4: six words, three numbers each. The numbers printed here are those that the book
# prints.

# %%
import numpy as np

import tinygrad_gpt as tg
from tinygrad_gpt import Tensor, nn, ops

WORDS = ["Your", "journey", "starts", "with", "one", "step"]
X = Tensor(np.array([[0.43, 0.15, 0.89], [0.55, 0.87, 0.66], [0.57, 0.85, 0.64],
                     [0.22, 0.58, 0.33], [0.77, 0.25, 0.10], [0.05, 0.80, 0.55]], np.float32))

# %% [markdown]
# ## Without weights
#
# How well two words fit is the product of their vectors. For one word, "journey": six scores, made to weights that
# sum to 1, and with them the average of all six vectors, its context vector.

# %%
scores = X @ X[1]
weights = ops.softmax(scores)
print("scores ", scores.numpy().round(4))
print("weights", weights.numpy().round(4), " sum", round(float(weights.numpy().sum()), 4))
print("context", (weights @ X).numpy().round(4))

# prints:
#   scores  [0.9544 1.495  1.4754 0.8434 0.707  1.0865]
#   weights [0.1385 0.2379 0.2333 0.124  0.1082 0.1581]  sum 1.0
#   context [0.4419 0.6515 0.5683]

# %% [markdown]
# Softmax and not a division by the sum: scores may be negative, and the exponential makes every weight positive.
#
# ## For all words at once
#
# Row `i` of `X Xᵀ` holds the scores of word `i`. Two matrix products do the work of two loops.


# %%
class SimpleAttention(nn.Module):
    """Every word asks with its own vector, and is compared with the vectors themselves."""

    def forward(self, x):
        return ops.softmax(x @ x.T) @ x


print(SimpleAttention()(X).numpy().round(4))

# prints:
#   [[0.4421 0.5931 0.579 ]
#    [0.4419 0.6515 0.5683]
#    [0.4431 0.6496 0.5671]
#    [0.4304 0.6298 0.551 ]
#    [0.4671 0.591  0.5266]
#    [0.4177 0.6503 0.5645]]

# %% [markdown]
# ## With weights
#
# There is nothing to learn in this. So each vector is multiplied by three matrices: one makes a query of it, one a
# key, one a value. What a word looks for, what it is found by, and what it says may now differ.


# %%
class SelfAttention(nn.Module):
    """Version 1: the three matrices are plain parameters."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.query, self.key, self.value = (nn.Parameter(tg.rand(n_in, n_out)) for _ in range(3))

    def forward(self, x):
        q, k, v = x @ self.query, x @ self.key, x @ self.value
        return ops.softmax(q @ k.T / k.shape[-1]**0.5) @ v


tg.manual_seed(123)
first = SelfAttention(3, 2)
print(first(X).numpy().round(4))

# prints:
#   [[0.2996 0.8053]
#    [0.3061 0.821 ]
#    [0.3058 0.8203]
#    [0.2948 0.7939]
#    [0.2927 0.7891]
#    [0.299  0.804 ]]

# %% [markdown]
# The division by the root of the width keeps softmax away from its flat ends: lesson 9 measures it.
#
# ## With linear layers
#
# A linear layer holds such a matrix, and starts with smaller random values that suit its width. PyTorch stores it
# transposed, which matters only when weights are copied.


# %%
class SelfAttentionOfLayers(nn.Module):
    """Version 2: the three matrices are linear layers."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(n_in, n_out, bias=False) for _ in range(3))

    def forward(self, x):
        q, k, v = self.query(x), self.key(x), self.value(x)
        return ops.softmax(q @ k.T / k.shape[-1]**0.5) @ v


tg.manual_seed(789)
second = SelfAttentionOfLayers(3, 2)
print(second(X).numpy().round(4))

# prints:
#   [[-0.0739  0.0713]
#    [-0.0748  0.0703]
#    [-0.0749  0.0702]
#    [-0.076   0.0685]
#    [-0.0763  0.0679]
#    [-0.0754  0.0693]]

# %% [markdown]
# ## One is the other
#
# With the same matrices both give the same (the book's exercise 3.1).

# %%
for name in ("query", "key", "value"):
    setattr(first, name, nn.Parameter(getattr(second, name).weight.T.detach()))
print("same:", np.allclose(first(X).numpy(), second(X).numpy(), atol=1e-6))

# prints:
#   same: True

# %% [markdown]
# ## Which gradients?
#
# All three matrices learn. Here is the size of each gradient for one random direction of the result.

# %%
g = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
second(X).backward(g)
for name in ("query", "key", "value"):
    print(f"{name:6} {np.abs(getattr(second, name).weight.grad.numpy()).mean():.4f}")

# prints:
#   query  0.0096
#   key    0.0053
#   value  0.0686

# %% [markdown]
# The values learn fastest at the start. Queries and keys only move weight from one word's value to another's, and
# these values are much alike.
#
# ## Try it
#
# Multiply all of `X` by 10. What happens to the weights, and to the gradients of queries and keys?
