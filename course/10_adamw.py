# %% [markdown]
# # 10. AdamW, clipping and the schedule
#
# The gradient says in which direction the loss rises. The optimiser decides how far to go the other way. AdamW keeps
# two running averages of each number's gradient.

# %%
import numpy as np

from tinygrad_gpt import Tensor
from tinygrad_gpt.nn.utils import clip_grad_norm_
from tinygrad_gpt.optim import AdamW, warmup_cosine

# %% [markdown]
# ## The rule
#
# `m` is the average gradient, `v` the average of its square. Both start at 0, so the first averages are too small;
# the divisions by `1 − βᵗ` correct that. Weight decay acts on the weight itself and not through the gradient: that is
# the W in AdamW.


# %%
def adamw(w, grads, lr=0.1, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.01):
    """The values of a weight after each step."""
    m = v = 0.0
    values = []
    for t, g in enumerate(grads, start=1):
        w = w - lr * decay * w
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        w = w - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
        values.append(float(w))
    return values


grads = [0.5, 0.5, -0.1, 2.0]
by_hand = adamw(1.0, grads)
w = Tensor(np.array([1.0]), requires_grad=True)
optimizer = AdamW([w], lr=0.1, weight_decay=0.01)
by_engine = []
for g in grads:
    w.grad = Tensor(np.array([g]))
    optimizer.step()
    by_engine.append(w.item())
print("by hand  ", np.round(by_hand, 6))
print("by engine", np.round(by_engine, 6))

# prints:
#   by hand   [0.899    0.798101 0.729717 0.655655]
#   by engine [0.899    0.798101 0.729717 0.655655]

# %% [markdown]
# ## The first step has the size of the learning rate
#
# At the first step `m / √v` is `g / |g|`: only the sign counts. A gradient that is a thousand times too large makes
# the same first step. This hides wrong factors, as lesson 12 shows.

# %%
for g in (0.001, 1.0, 1000.0):
    print(f"gradient {g:<7} first step {adamw(0.0, [g], decay=0.0)[0]:+.4f}")

# prints:
#   gradient 0.001   first step -0.1000
#   gradient 1.0     first step -0.1000
#   gradient 1000.0  first step -0.1000

# %% [markdown]
# ## Why the correction
#
# Without the divisions the first step would be `(1 − β₁) / √(1 − β₂)` times the learning rate.

# %%
print(f"without the correction: {(1 - 0.9) / np.sqrt(1 - 0.999):.4f} times the learning rate")

# prints:
#   without the correction: 3.1623 times the learning rate

# %% [markdown]
# ## Clipping
#
# One strange batch can have a huge gradient. Clipping scales all gradients by one factor, so that their joint length
# is at most 1. The direction stays. The book's appendix D, section D.3, clips the matrix of 1, 2, 2, 4: its length is
# 5, and the results are 0.2, 0.4, 0.4 and 0.8.

# %%
matrix = Tensor(np.zeros((2, 2)), requires_grad=True)
matrix.grad = Tensor(np.array([[1.0, 2.0], [2.0, 4.0]]))
length = clip_grad_norm_([matrix], 1.0)
print("length", length.item(), " clipped", matrix.grad.numpy().round(4).tolist())

# prints:
#   length 5.0  clipped [[0.2, 0.4], [0.4, 0.8]]

# %% [markdown]
# ## The schedule
#
# While the averages know little, the steps should be small: the learning rate rises in a straight line (warm-up),
# then falls along half a cosine. Here are 135 steps with 27 of warm-up, as in appendix D.

# %%
rates = [warmup_cosine(step, 135, peak=0.01, warmup=27, initial=0.0001, minimum=0.00001) for step in range(135)]
for step in (0, 13, 27, 81, 134):
    print(f"step {step:3}  learning rate {rates[step]:.6f}")

# prints:
#   step   0  learning rate 0.000100
#   step  13  learning rate 0.004867
#   step  27  learning rate 0.010000
#   step  81  learning rate 0.005005
#   step 134  learning rate 0.000012

# %% [markdown]
# ## Try it
#
# Give all the steps the gradient `+1, −1, +1, −1, …`. How far does AdamW go, and how far gradient descent?
