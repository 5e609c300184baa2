# %% [markdown]
# # 6. Embedding, and tokens that come twice
#
# An embedding looks up rows of a table. Its gradient is the simplest in GPT-2, and NumPy has a trap in it.

# %%
import numpy as np

from tinygrad_gpt import Tensor, ops
from tinygrad_gpt.text import get_encoding

table = np.arange(12.0).reshape(6, 2)  # six tokens, two numbers each
ids = np.array([3, 1, 3])  # token 3 comes twice
print(table[ids].tolist())

# prints:
#   [[6.0, 7.0], [2.0, 3.0], [6.0, 7.0]]

# %% [markdown]
# ## Rows add up
#
# Row 3 was used twice, so it gets two gradients, and they add up. Rows that were not used get zero.

# %%
g = np.array([[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]])  # the gradients of the three looked-up rows
right = np.zeros_like(table)
for i, row in zip(ids, g, strict=True):
    right[i] += row
print("row 1", right[1], "  row 3", right[3], "  all others zero:", not right[[0, 2, 4, 5]].any())

# prints:
#   row 1 [10. 20.]   row 3 [101. 202.]   all others zero: True

# %% [markdown]
# ## The trap
#
# `grad[ids] += g` reads the rows, adds, and writes them back. With an id twice the second write wins, and the first
# gradient is lost. No error, no warning, and on texts without a repeated token the result is right. `np.add.at` adds
# one by one.

# %%
lost = np.zeros_like(table)
lost[ids] += g
added = np.zeros_like(table)
np.add.at(added, ids, g)
print("grad[ids] += g :", lost[3])
print("np.add.at      :", added[3])

t = Tensor(table, requires_grad=True)
ops.embedding(t, ids).backward(g)
print("engine         :", t.grad.numpy()[3])

# prints:
#   grad[ids] += g : [100. 200.]
#   np.add.at      : [101. 202.]
#   engine         : [101. 202.]

# %% [markdown]
# ## The same as a matrix product
#
# A look-up is a product with rows that hold a single 1. So by lesson 4 the gradient is `one_hotᵀ g`, and the sum over
# equal tokens is the sum of a matrix product. Nobody computes it so for 50,257 tokens: nearly all of it is zeros.

# %%
one_hot = np.eye(6)[ids]
print("look-up is a product:", np.array_equal(one_hot @ table, table[ids]))
print("gradient is one too: ", np.array_equal(one_hot.T @ g, right))

# prints:
#   look-up is a product: True
#   gradient is one too:  True

# %% [markdown]
# ## How often does it happen?
#
# In a real text, always. Count the tokens of two sentences:

# %%
tokens = get_encoding("gpt2").encode("The cat sat on the mat. The dog sat on the rug, and the cat looked at the dog.")
print("tokens:", len(tokens), "  different:", len(set(tokens)))

# prints:
#   tokens: 22   different: 14

# %% [markdown]
# ## Tied weights
#
# GPT-2 uses one table twice: to read tokens and, transposed, to score the next one. So its gradient has two parts,
# and the tape adds them (lesson 2). The first part touches the rows of the text, the second every row.

# %%
wte = Tensor(np.random.default_rng(0).normal(size=(6, 2)), requires_grad=True)
x = ops.embedding(wte, ids)
loss = ops.cross_entropy(x @ wte.T, np.array([1, 3, 0]))
loss.backward()
print("rows with a gradient:", int(wte.grad.numpy().any(axis=1).sum()), "of", len(table))

# prints:
#   rows with a gradient: 6 of 6

# %% [markdown]
# ## Try it
#
# Let position 2 be padding: its gradient must not reach the table. Where would you put the mask?
