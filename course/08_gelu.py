# %% [markdown]
# # 8. GELU
#
# Between the two matrix products of a feed-forward layer stands a curve. Without it both products would be one.
# GPT-2's curve is GELU: `x · Φ(x)`, with Φ the share of a normal distribution that lies below `x`.

# %%
import math

import numpy as np

from tinygrad_gpt import Tensor, ops

CUBIC, C = 0.044715, math.sqrt(2 / math.pi)


def gelu(x):
    return 0.5 * x * (1 + np.tanh(C * (x + CUBIC * x**3)))


def exact(x):
    return x * np.array([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x])


x = np.linspace(-6, 6, 12001)
print("gelu at -2, -1, 0, 1, 2:", gelu(np.array([-2.0, -1.0, 0.0, 1.0, 2.0])).round(4) + 0.0)
print(f"furthest from the exact curve: {np.abs(gelu(x) - exact(x)).max():.1e}")
print(f"lowest point: {gelu(x).min():.4f} at {x[gelu(x).argmin()]:.3f}")

# prints:
#   gelu at -2, -1, 0, 1, 2: [-0.0454 -0.1588  0.      0.8412  1.9546]
#   furthest from the exact curve: 4.7e-04
#   lowest point: -0.1700 at -0.752

# %% [markdown]
# GPT-2 was trained with the tanh form, so the tanh form is what its weights expect. Unlike ReLU the curve is smooth,
# and left of its lowest point its slope is negative.
#
# ## Its derivative
#
# Write the curve as `x · h` with `h = ½ (1 + tanh u)` and `u = C (x + 0.044715 x³)`. The product rule gives two
# terms, and the derivative of tanh is `1 − tanh²`, which is `4 h (1 − h)`: so `h' = 2 h (1 − h) u'`.

# %%
def slope(x):
    h = 0.5 * (1 + np.tanh(C * (x + CUBIC * x**3)))
    u_slope = C * (1 + 3 * CUBIC * x**2)
    return h + x * 2 * h * (1 - h) * u_slope


step = 1e-6
numeric = (gelu(x + step) - gelu(x - step)) / (2 * step)
print("rule and differences agree to 1e-8:", np.abs(slope(x) - numeric).max() < 1e-8)
t = Tensor(x, requires_grad=True)
ops.gelu(t).backward(np.ones_like(x))
print("rule and engine agree to 1e-12:    ", np.abs(slope(x) - t.grad.numpy()).max() < 1e-12)
print(f"slope at 0: {slope(np.zeros(1))[0]}   largest: {slope(x).max():.4f}   smallest: {slope(x).min():.4f}")

# prints:
#   rule and differences agree to 1e-8: True
#   rule and engine agree to 1e-12:     True
#   slope at 0: 0.5   largest: 1.1290   smallest: -0.1290

# %% [markdown]
# ## Mistakes that keep the shape
#
# None of these raises an error, and on a plot of the curve and its slope the second is easily taken for right.

# %%
h = 0.5 * (1 + np.tanh(C * (x + CUBIC * x**3)))
u_slope = C * (1 + 3 * CUBIC * x**2)
for name, wrong in [("only the first term", h), ("3 forgotten", h + x * 2 * h * (1 - h) * C * (1 + CUBIC * x**2)),
                    ("ReLU's step", (x > 0) * 1.0)]:
    print(f"{name:20} off by up to {np.abs(wrong - slope(x)).max():.3f}")

# prints:
#   only the first term  off by up to 0.242
#   3 forgotten          off by up to 0.030
#   ReLU's step          off by up to 0.500

# %% [markdown]
# ## Does a check see them?
#
# Only where they differ. At `x = 0` the first two are exactly right; a check at one unlucky point proves nothing.

# %%
middle = 6000
print("at x =", x[middle], " first term only:", h[middle] == slope(x)[middle])

# prints:
#   at x = 0.0  first term only: True

# %% [markdown]
# ## Try it
#
# SiLU is `x · σ(x)`. Derive its slope with the same two terms. Where is its lowest point?
