# %% [markdown]
# # 1. A value and the chain rule
#
# A derivative says how fast one number changes when another one moves. This lesson computes one in three ways: by the
# chain rule, by a finite difference, and by the engine. All later lessons compare the same three.

# %%
import math

import numpy as np

from tinygrad_gpt import Tensor, ops

# %% [markdown]
# ## By the chain rule
#
# Take `y = exp(3 x²)`. It is made of three steps, and each step has a derivative of its own:
#
# | step | its derivative |
# |---|---|
# | `u = x²` | `∂u/∂x = 2x` |
# | `v = 3u` | `∂v/∂u = 3` |
# | `y = exp(v)` | `∂y/∂v = exp(v)` |
#
# The chain rule multiplies them. Read it from the end to the beginning: start with 1, the derivative of `y` by
# itself, and multiply by one local derivative for each step. The engine works in the same direction, because a loss
# is one number at the end and the parameters are many numbers at the beginning.

# %%
x = 0.5
u = x * x
v = 3 * u
y = math.exp(v)

y_grad = 1.0
v_grad = y_grad * math.exp(v)  # y = exp(v)
u_grad = v_grad * 3  # v = 3 u
x_grad = u_grad * 2 * x  # u = x²
print(f"y = {y:.6f}")
print(f"dy/dx by the chain rule  {x_grad:.6f}")

# prints:
#   y = 2.117000
#   dy/dx by the chain rule  6.351000

# %% [markdown]
# ## By a difference
#
# Move `x` a little to both sides and divide. This needs no rule at all, so it can check any rule. It costs two
# evaluations for each number that is moved: fine for a check, too slow for a model with millions of parameters.


# %%
def f(x):
    return math.exp(3 * x * x)


h = 1e-5
numeric = (f(x + h) - f(x - h)) / (2 * h)
print(f"dy/dx by a difference    {numeric:.6f}")

# prints:
#   dy/dx by a difference    6.351000

# %% [markdown]
# ## How small should the step be?
#
# A large step is wrong because the bend of the curve changes along it (a parabola, whose bend is the same everywhere,
# has no such error): a step ten times smaller is wrong by a hundred times less. A tiny step is wrong because
# `f(x + h)` and `f(x - h)` agree in nearly all their digits, and their difference keeps only what rounding left. In
# float64 a step between 1e-7 and 1e-5 is best.


# %%
def error(h):
    return abs((f(x + h) - f(x - h)) / (2 * h) / x_grad - 1)


for h in (1e-1, 1e-2, 1e-3):
    print(f"step {h:<5}  relative error {error(h):.1e}")
print("step 1e-5 is better than 1e-3: ", error(1e-5) < error(1e-3))
print("step 1e-12 is worse than 1e-5: ", error(1e-12) > error(1e-5))

# prints:
#   step 0.1    relative error 4.6e-02
#   step 0.01   relative error 4.5e-04
#   step 0.001  relative error 4.5e-06
#   step 1e-5 is better than 1e-3:  True
#   step 1e-12 is worse than 1e-5:  True

# %% [markdown]
# ## By the engine
#
# A `Tensor` with `requires_grad=True` remembers what was computed from it. `backward()` does the walk from the end to
# the beginning that was done by hand above.

# %%
t = Tensor(np.array(0.5), requires_grad=True)
ops.exp(3 * t * t).backward()
print(f"dy/dx by the engine      {t.grad.item():.6f}")

# prints:
#   dy/dx by the engine      6.351000

# %% [markdown]
# ## Try it
#
# Change `f` to `sin(x) / x`. Write its steps, the local derivatives, and the product; compare with the difference.
