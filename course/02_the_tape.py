# %% [markdown]
# # 2. The tape
#
# An engine for gradients needs two ideas: write down every step on the way forward, and walk back over the list. Here
# is one in thirty lines. The real one (`tinygrad_gpt/engine/tape.py`) has the same shape.


# %%
import numpy as np

from tinygrad_gpt import Tensor
from tinygrad_gpt.study import view_tape

tape = []


class Value:
    """A number that knows from which numbers it was made, and its derivative by each of them."""

    def __init__(self, number, parents=(), slopes=()):
        self.number, self.parents, self.slopes, self.grad = number, parents, slopes, 0.0
        tape.append(self)

    def __add__(self, other):
        return Value(self.number + other.number, (self, other), (1.0, 1.0))

    def __mul__(self, other):
        return Value(self.number * other.number, (self, other), (other.number, self.number))


def backward(result, order):
    """Give each value of the tape its gradient, the derivative of the result by it."""
    for value in tape:
        value.grad = 0.0
    result.grad = 1.0
    for value in order:
        for parent, slope in zip(value.parents, value.slopes, strict=True):
            parent.grad += slope * value.grad

# %% [markdown]
# ## Gradients add up
#
# `x` is used three times in `y = x · x + x`. Each use sends its own part back, and the parts are added: a small
# change of `x` reaches `y` on every one of these ways. With `=` instead of `+=` in `backward` only the last part
# would stay.

# %%
x = Value(3.0)
y = x * x + x
backward(y, reversed(tape))
print("y =", y.number, "  dy/dx =", x.grad, "  by hand 2x + 1 =", 2 * 3.0 + 1)

# prints:
#   y = 12.0   dy/dx = 7.0   by hand 2x + 1 = 7.0

# %% [markdown]
# ## The order matters
#
# A value may pass its gradient on only when it is complete, that is, when all its consumers have sent their parts.
# Consumers are always made later than what they consume, so the reverse of the order of creation is always right. Any
# other order can be wrong: here the tape is walked forward.

# %%
backward(y, tape)
print("walked forward: dy/dx =", x.grad)

# prints:
#   walked forward: dy/dx = 1.0

# %% [markdown]
# ## A diamond
#
# `a = x²`, `b = a·a`, `c = a·x`, `y = b + c`. Two ways lead from `y` to `a`. A recursive walk that follows each way
# to its end would visit `x` many times; the tape visits each value once.

# %%
tape.clear()
x = Value(2.0)
a = x * x
y = a * a + a * x
backward(y, reversed(tape))
print("dy/dx =", x.grad, "  by hand 4x³ + 3x² =", 4 * 2.0**3 + 3 * 2.0**2)
print("values on the tape:", len(tape))

# prints:
#   dy/dx = 44.0   by hand 4x³ + 3x² = 44.0
#   values on the tape: 5

# %% [markdown]
# ## The real tape
#
# `view_tape` shows what the engine has recorded. A leaf is a tensor that you made. `print(view_tape(y))` also names the
# inputs of each op, and the file and line where its gradient is defined.

# %%
t = Tensor(np.array([2.0]), requires_grad=True)
a = t * t
y = (a * a + a * t).sum()
labels = [node.label for node in view_tape(y).nodes]
print("nodes:", *labels)
y.backward()
print("gradient:", t.grad.numpy())

# prints:
#   nodes: leaf mul mul mul add sum
#   gradient: [44.]

# %% [markdown]
# Two questions that everybody asks once:
#
# - **Why is my gradient doubled?** `backward` adds to `grad`. Training loops call `zero_grad()` before each step.
# - **Why is the gradient of a result None?** Only leaves keep theirs; `a.retain_grad()` asks for another one.

# %%
t.grad = None
for _ in range(2):
    (t * t).sum().backward()
print("after two backward passes:", t.grad.numpy(), "  one of them gives", 2 * t.numpy())

# prints:
#   after two backward passes: [8.]   one of them gives [4.]

# %% [markdown]
# ## Try it
#
# Give `Value` a method `exp`, and compute the gradient of lesson 1 with it.
