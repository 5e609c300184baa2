# %% [markdown]
# # 3. Broadcasting, undone
#
# NumPy stretches a small array to the shape of a larger one. On the way back this has to be undone, and what undoes a
# copy is a sum.

# %%
import numpy as np

from tinygrad_gpt import Tensor, gradcheck

# %% [markdown]
# ## One number used many times
#
# `x + b` adds the same `b` to each row. Each row sends back a gradient for `b`, and by lesson 2 gradients add up. So
# the gradient of `b` is the sum of `g` over the axis that was stretched.

# %%
x, b = np.arange(6.0).reshape(2, 3), np.array([10.0, 20.0, 30.0])
g = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])  # the gradient of x + b
print("shape of the result", (x + b).shape, " of b", b.shape)
print("gradient of b", g.sum(axis=0))

# prints:
#   shape of the result (2, 3)  of b (3,)
#   gradient of b [5. 7. 9.]

# %% [markdown]
# ## Every case in four lines
#
# Two things happen in broadcasting: missing axes are put in front, and axes of length 1 are stretched. Both are
# undone by sums; the second keeps its axis.


# %%
def sum_to(g, shape):
    """Sum a gradient down to the shape that was broadcast to its shape."""
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] != 1)
    return g.sum(axis=stretched, keepdims=True)


for shape in [(3,), (1, 3), (2, 1), (1, 1), (), (2, 3)]:
    print(f"{shape!s:7}", sum_to(g, shape).tolist())

# prints:
#   (3,)    [5.0, 7.0, 9.0]
#   (1, 3)  [[5.0, 7.0, 9.0]]
#   (2, 1)  [[6.0], [15.0]]
#   (1, 1)  [[21.0]]
#   ()      21.0
#   (2, 3)  [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]

# %% [markdown]
# ## Beside the engine
#
# The engine does the same after each op that broadcasts: a pullback may return the large gradient.

# %%
generator = np.random.default_rng(0)
for shape in [(3,), (2, 1), (), (4, 1, 3)]:
    a = Tensor(generator.normal(size=(2, 3)), requires_grad=True)
    small = Tensor(generator.normal(size=shape), requires_grad=True)
    y = a * small
    seed = generator.normal(size=y.shape)
    y.backward(seed)
    by_hand = sum_to(seed * a.numpy(), shape)
    print(f"{shape!s:10}", "same as by hand:", np.allclose(small.grad.numpy(), by_hand, rtol=1e-12, atol=0))

# prints:
#   (3,)       same as by hand: True
#   (2, 1)     same as by hand: True
#   ()         same as by hand: True
#   (4, 1, 3)  same as by hand: True

# %% [markdown]
# ## What a forgotten sum looks like
#
# If the sum is left out the shapes do not fit, and that is noticed. Worse is a sum that is a mean: the shape is
# right, the sign is right, the loss falls, and the gradient is too small by the length of the axis. Only the numbers
# tell.

# %%
w = generator.normal(size=3)
right = gradcheck(lambda w: (Tensor(x) * w * w).sum(), w)
print("largest relative error of the right gradient is below 1e-9:", max(e.error for e in right.entries) < 1e-9)
mean_instead = (2 * x * w).mean(axis=0)
print("sum / mean:", ((2 * x * w).sum(axis=0) / mean_instead).round(6).tolist(), " rows:", len(x))

# prints:
#   largest relative error of the right gradient is below 1e-9: True
#   sum / mean: [2.0, 2.0, 2.0]  rows: 2

# %% [markdown]
# ## Try it
#
# Which shape does the gradient of `a` have in `a + b` with `a` of shape (5, 1) and `b` of shape (1, 7)? Which sums
# does it take? Say it before you run it.
