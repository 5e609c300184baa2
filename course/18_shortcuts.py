# %% [markdown]
# # 18. Shortcuts, and gradients that vanish
#
# The book's section 4.4: five small layers, with and without a way around each. The gradients are those that the book
# prints.

# %%
import itertools

import numpy as np

import tinygrad_gpt as tg
from tinygrad_gpt import Tensor, gradcheck, nn, ops


class Deep(nn.Module):
    """Five layers with GELU; with `shortcut` each adds to its input where the shapes fit."""

    def __init__(self, sizes, shortcut):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(n_in, n_out) for n_in, n_out in itertools.pairwise(sizes)])
        self.shortcut = shortcut

    def forward(self, x):
        for layer in self.layers:
            y = ops.gelu(layer(x))
            x = x + y if self.shortcut and x.shape == y.shape else y
        return x


def mean_gradients(shortcut, depth=5, seed=123):
    """Mean size of the gradient of each layer's weight, for the squared distance of the result from 0."""
    tg.manual_seed(seed)
    model = Deep([3] * depth + [1], shortcut)
    y = model(Tensor([[1.0, 0.0, -1.0]]))
    (y * y).mean().backward()
    return [float(np.abs(layer.weight.grad.numpy()).mean()) for layer in model.layers]


print("layer     without      with a shortcut")
for i, (without, with_it) in enumerate(zip(mean_gradients(False), mean_gradients(True), strict=True), 1):
    print(f"{i}      {without:.8f}     {with_it:.6f}")

# prints:
#   layer     without      with a shortcut
#   1      0.00020174     0.221698
#   2      0.00012011     0.206941
#   3      0.00071520     0.328970
#   4      0.00139887     0.266573
#   5      0.00504965     1.325854

# %% [markdown]
# Without shortcuts the gradient of the first layer is a small part of the last one's. Each layer multiplies what
# comes back by its slope and its weights, and both are below 1.
#
# ## Why the shortcut helps
#
# `y = x + f(x)` has the slope `1 + f'(x)`. Whatever `f` does, the 1 lets the gradient through. Products of numbers
# near 1 stay near 1, products of small numbers vanish.

# %%
slope = 0.2
print("five layers, slope 0.2 each: without", round(slope**5, 5), "  with", round((1 + slope) ** 5, 3))

# prints:
#   five layers, slope 0.2 each: without 0.00032   with 2.488

# %% [markdown]
# ## Deeper
#
# At twenty layers the first layer without shortcuts learns nothing any more.

# %%
for depth in (5, 10, 20):
    without, with_it = mean_gradients(False, depth), mean_gradients(True, depth)
    print(f"{depth:2} layers: the first weight's gradient is 10^{np.log10(without[0] / without[-1]):.1f} of the last "
          f"one's without, 10^{np.log10(with_it[0] / with_it[-1]):.1f} with shortcuts")

# prints:
#    5 layers: the first weight's gradient is 10^-1.4 of the last one's without, 10^-0.8 with shortcuts
#   10 layers: the first weight's gradient is 10^-4.4 of the last one's without, 10^-1.1 with shortcuts
#   20 layers: the first weight's gradient is 10^-13.2 of the last one's without, 10^-1.4 with shortcuts

# %% [markdown]
# ## Small is not wrong
#
# A tiny gradient may be perfectly right. The check compares it with differences of the loss, and judges their error
# relative to the gradient itself: a tiny gradient that is right passes, and half of it does not. To see that, `halved`
# has the same value as the loss and half its gradient.
#
# There is an end to this. Far below the rounding of the loss a gradient does not show in any difference. The check
# then calls it neither right nor wrong, but not checked. (The input has a 0, and the gradients of the weights that it
# meets are exactly 0. Those are right.)


# %%
def check(depth, halved):
    """Check the first weight of the layers without shortcuts, in float64."""
    tg.manual_seed(123)
    layers = Deep([3] * depth + [1], shortcut=False).layers
    weights, biases = ([a.numpy().astype(np.float64) for a in part]
                       for part in ([layer.weight for layer in layers], [layer.bias for layer in layers]))

    def loss(first_weight):
        x = Tensor(np.array([[1.0, 0.0, -1.0]]))
        for i, (w, b) in enumerate(zip(weights, biases, strict=True)):
            x = ops.gelu(x @ (first_weight if i == 0 else Tensor(w)).T + Tensor(b))
        y = (x * x).sum()
        return y * 0.5 + y.detach() * 0.5 if halved else y

    return gradcheck(loss, weights[0])


for depth in (10, 40):
    for halved in (False, True):
        report = check(depth, halved)
        largest = max(abs(entry.analytic) for entry in report.entries)
        right = len(report.entries) - len(report.wrong) - len(report.unchecked)
        print(f"{depth} layers, {'half of the' if halved else 'the'} gradient, up to {largest:.0e}:".ljust(48),
              f"{right} right, {len(report.wrong)} wrong, {len(report.unchecked)} not checked")

# prints:
#   10 layers, the gradient, up to 9e-07:            9 right, 0 wrong, 0 not checked
#   10 layers, half of the gradient, up to 4e-07:    3 right, 6 wrong, 0 not checked
#   40 layers, the gradient, up to 1e-25:            3 right, 0 wrong, 6 not checked
#   40 layers, half of the gradient, up to 7e-26:    3 right, 0 wrong, 6 not checked

# %% [markdown]
# ## In GPT-2
#
# Each block has two shortcuts, around attention and around the feed-forward layer. What goes straight through is
# called the residual stream. Lesson 11 shows how a gradient divides between it and the blocks.
#
# ## Try it
#
# Start `f` at zero, so that every layer with a shortcut passes its input on unchanged. What are the gradients then?
