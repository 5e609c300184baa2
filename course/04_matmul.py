# %% [markdown]
# # 4. The matrix product
#
# Nearly all the arithmetic of GPT-2 is matrix products, forward and backward. The backward pass of one product is two
# products.

# %%
import numpy as np

from tinygrad_gpt import Tensor, gradcheck, ops

generator = np.random.default_rng(1)
A, B, g = generator.normal(size=(4, 3)), generator.normal(size=(3, 5)), generator.normal(size=(4, 5))

# %% [markdown]
# ## The rule
#
# `Y = A B` means `Y[i, j] = Σ_k A[i, k] B[k, j]`. One entry `A[i, k]` takes part in the whole row `i` of `Y`, each
# time with a factor `B[k, j]`. So its gradient is `Σ_j g[i, j] B[k, j]`, which is entry `(i, k)` of `g Bᵀ`. In the
# same way the gradient of `B` is `Aᵀ g`.
#
# The shapes alone nearly give the rule: `(4, 5)` times something made of `B` must be `(4, 3)`.

# %%
A_grad = g @ B.T
B_grad = A.T @ g
print("shapes:", A_grad.shape, B_grad.shape)

a, b = Tensor(A, requires_grad=True), Tensor(B, requires_grad=True)
(a @ b).backward(g)
print("as the engine:", np.allclose(a.grad.numpy(), A_grad), np.allclose(b.grad.numpy(), B_grad))

# prints:
#   shapes: (4, 3) (3, 5)
#   as the engine: True True

# %% [markdown]
# ## Nearly: square matrices
#
# With square matrices every arrangement has the right shape. Of the eight below one is right, and only numbers find
# it.

# %%
S, T, G = (generator.normal(size=(3, 3)) for _ in range(3))
s = Tensor(S, requires_grad=True)
(s @ T).backward(G)
for text, candidate in [("g T", G @ T), ("g Tᵀ", G @ T.T), ("gᵀ T", G.T @ T), ("gᵀ Tᵀ", G.T @ T.T),
                        ("T g", T @ G), ("Tᵀ g", T.T @ G), ("T gᵀ", T @ G.T), ("Tᵀ gᵀ", T.T @ G.T)]:
    print(f"{text:6}", "right" if np.allclose(candidate, s.grad.numpy()) else "wrong")

# prints:
#   g T    wrong
#   g Tᵀ   right
#   gᵀ T   wrong
#   gᵀ Tᵀ  wrong
#   T g    wrong
#   Tᵀ g   wrong
#   T gᵀ   wrong
#   Tᵀ gᵀ  wrong

# %% [markdown]
# ## A linear layer
#
# `y = x W + b` for a batch of texts: `x` is `(batch, tokens, in)`. Each token is a row, and all rows share `W` and
# `b`. So for the gradient of `W` the rows of all texts are put under one another, and for `b` they are summed.

# %%
x, W, bias = generator.normal(size=(2, 4, 3)), generator.normal(size=(3, 5)), generator.normal(size=5)
g = generator.normal(size=(2, 4, 5))
W_grad = x.reshape(8, 3).T @ g.reshape(8, 5)
bias_grad = g.sum(axis=(0, 1))

w, c = Tensor(W, requires_grad=True), Tensor(bias, requires_grad=True)
ops.linear(Tensor(x), w, c).backward(g)
print("as the engine:", np.allclose(w.grad.numpy(), W_grad), np.allclose(c.grad.numpy(), bias_grad))

# prints:
#   as the engine: True True

# %% [markdown]
# ## Checked by differences, entry by entry
#
# `gradcheck` moves each entry of each argument and compares. It is the tool of this course: it needs no rule.

# %%
report = gradcheck(lambda x, w, b: (ops.linear(x, w, b) * Tensor(g)).sum(), x, W, bias)
print("entries checked:", len(report.entries), "  wrong:", len(report.wrong))

# prints:
#   entries checked: 44   wrong: 0

# %% [markdown]
# ## What it costs
#
# A product of `(n, k)` and `(k, m)` takes `2 n k m` operations. Backward takes two products of the same size, so a
# training step costs about three times a forward pass. (The first layer of a model needs no gradient of its input.)

# %%
n, k, m = 1024, 768, 3072
print("forward:", 2 * n * k * m, "  backward:", 2 * (2 * n * k * m))

# prints:
#   forward: 4831838208   backward: 9663676416

# %% [markdown]
# ## Try it
#
# Write the gradients of `Y = A Bᵀ`, the product of queries and keys in lesson 9, and check them.
