# %% [markdown]
# # 33. Second derivatives
#
# A gradient is computed by ops, so it can be differentiated too. The engine records the backward pass when it is told
# to (`create_graph=True`). What that is good for: how curved the loss is, and how large a step may be.

# %%
import numpy as np

import tinygrad_gpt as tg
from tinygrad_gpt import Tensor, grad, ops
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config

# %% [markdown]
# ## Twice
#
# `x³`, `3x²`, `6x`, and once more.

# %%
x = Tensor(np.array([1.0, 2.0, 3.0]), requires_grad=True)
y = (x * x * x).sum()
for order in (1, 2, 3):
    (g,) = grad(y, x, create_graph=True)
    print("derivative", order, g.numpy())
    y = g.sum()

# prints:
#   derivative 1 [ 3. 12. 27.]
#   derivative 2 [ 6. 12. 18.]
#   derivative 3 [6. 6. 6.]

# %% [markdown]
# ## The Hessian of the loss
#
# The gradient of cross-entropy is `p − one-hot` (lesson 5). Its derivative is the Jacobian of softmax: `diag(p) − p
# pᵀ`. The target has gone: how curved the loss is does not depend on which answer is right.

# %%
z = np.array([2.0, 1.0, 0.1])
p = np.exp(z) / np.exp(z).sum()
hessian = tg.hessian(lambda z: ops.cross_entropy(z, 0), Tensor(z)).numpy()
print(hessian.round(4))
print("as by hand:", np.allclose(hessian, np.diag(p) - np.outer(p, p)))
print("no direction curves downwards:", np.linalg.eigvalsh(hessian).min() > -1e-12)

# prints:
#   [[ 0.2247 -0.1598 -0.065 ]
#    [-0.1598  0.1837 -0.0239]
#    [-0.065  -0.0239  0.0889]]
#   as by hand: True
#   no direction curves downwards: True

# %% [markdown]
# ## A product with the Hessian
#
# For a model with a million weights the Hessian has 10¹² entries. Its product with one vector costs two backward
# passes: differentiate the gradient times the vector. It is how fast the gradient changes when the weights move along
# it.

# %%
CONFIG = GPT2Config(vocab_size=12, n_ctx=6, n_embd=8, n_layer=1, n_head=2)
model = GPT2(CONFIG, seed=0).double()
ids = np.random.default_rng(0).integers(0, 12, (4, 7))
weights = list(model.parameters())
ends = np.cumsum([w.size for w in weights])[:-1]


def parts(vector):
    """A vector of all numbers, cut into the shapes of the weights."""
    return [part.reshape(w.shape) for part, w in zip(np.split(vector, ends), weights, strict=True)]


def joined(tensors):
    return np.concatenate([t.numpy().ravel() for t in tensors])


def gradient(at):
    """The gradient of the loss where the weights are ``at``."""
    for w, part in zip(weights, parts(at), strict=True):
        w.data = part
    return joined(grad(model.loss(ids[:, :-1], ids[:, 1:]), weights))


def product(vector):
    """The Hessian times a vector."""
    with tg.using_ops("composed"):
        first = grad(model.loss(ids[:, :-1], ids[:, 1:]), weights, create_graph=True)
        along = sum((g * Tensor(v)).sum() for g, v in zip(first, parts(vector), strict=True))
        return joined(grad(along, weights))


start = joined(weights)
vector = np.random.default_rng(1).normal(size=start.size)
exact, step = product(vector), 1e-5
numeric = (gradient(start + step * vector) - gradient(start - step * vector)) / (2 * step)
_ = gradient(start)  # puts the weights back
print("weights:", start.size)
print("differences of gradients agree to 1e-6:", np.abs(exact - numeric).max() < 1e-6 * np.abs(exact).max())

# prints:
#   weights: 1032
#   differences of gradients agree to 1e-6: True

# %% [markdown]
# ## The largest step
#
# Multiply a vector again and again by the Hessian, and it turns towards the direction of the strongest curvature λ.
# Along it the slope grows by λ for each unit of way. So a step of size η against the slope leaves `1 − η λ` of it:
# with `η < 2 / λ` it shrinks (from `1 / λ` on it changes its sign each time), beyond that it grows. Training at such a
# step falls apart.

# %%
direction = vector
for _ in range(40):
    direction = product(direction / np.linalg.norm(direction))
curvature = np.linalg.norm(direction)
direction = direction / curvature
print(f"strongest curvature {curvature:.1f}   largest step {2 / curvature:.3f}")


def slope(distance):
    """Of the loss along the direction, less what it is at the start."""
    return float((gradient(start + distance * direction) - gradient(start)) @ direction)


for share in (0.25, 0.5, 0.9, 1.5):
    distance = 1e-3
    after = distance - share * 2 / curvature * slope(distance)
    print(f"step of {share} times that: {slope(after) / slope(distance):+.2f} of the slope is left; "
          f"1 − ηλ = {1 - 2 * share:+.2f}")
_ = gradient(start)

# prints:
#   strongest curvature 40.2   largest step 0.050
#   step of 0.25 times that: +0.51 of the slope is left; 1 − ηλ = +0.50
#   step of 0.5 times that: +0.01 of the slope is left; 1 − ηλ = +0.00
#   step of 0.9 times that: -0.80 of the slope is left; 1 − ηλ = -0.80
#   step of 1.5 times that: -2.01 of the slope is left; 1 − ηλ = -2.00

# %% [markdown]
# ## Try it
#
# Train the model for 50 steps of gradient descent with half of the largest step. Measure the curvature again.
