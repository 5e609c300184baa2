# %% [markdown]
# # 17. The sizes, layer norm and the feed-forward layer
#
# The book's sections 4.1 to 4.3. GPT-2 is twelve blocks of one design. This lesson has the parts of a block that are
# not attention, and counts their parameters.

# %%
import numpy as np

import tinygrad_gpt as tg
from tinygrad_gpt import nn, ops
from tinygrad_gpt.models.gpt2 import GPT2Config
from tinygrad_gpt.text import get_encoding

config = GPT2Config()
print(f"{config.vocab_size} tokens, context {config.n_ctx}, width {config.n_embd}, "
      f"{config.n_layer} blocks, {config.n_head} heads")
batch = np.array([get_encoding("gpt2").encode(text) for text in ("Every effort moves you", "Every day holds a")])
print(batch)

# prints:
#   50257 tokens, context 1024, width 768, 12 blocks, 12 heads
#   [[6109 3626 6100  345]
#    [6109 1110 6622  257]]

# %% [markdown]
# A model maps these two rows of four ids to two times four rows of 50,257 scores. Everything between is of the shape
# (2, 4, 768): a vector for each token, which each block changes a little.
#
# ## Layer norm by hand
#
# Two examples, a layer of six outputs, ReLU; then mean and variance of each row. These are the numbers of section
# 4.2.

# %%
tg.manual_seed(123)
examples = tg.randn(2, 5)
out = ops.relu(nn.Linear(5, 6)(examples)).numpy()
mean, variance = out.mean(axis=-1, keepdims=True), out.var(axis=-1, ddof=1, keepdims=True)
print(out.round(4))
print("mean", mean.ravel().round(4), " variance", variance.ravel().round(4))
print(((out - mean) / np.sqrt(variance)).round(4))

# prints:
#   [[0.226  0.347  0.     0.2216 0.     0.    ]
#    [0.2133 0.2394 0.     0.5198 0.3297 0.    ]]
#   mean [0.1324 0.217 ]  variance [0.0231 0.0398]
#   [[ 0.6159  1.4126 -0.8719  0.5872 -0.8719 -0.8719]
#    [-0.0189  0.1121 -1.0876  1.5173  0.5647 -1.0876]]

# %% [markdown]
# This variance divides by `n − 1`. Layer norm divides by `n`, as GPT-2 was trained, and adds a small `eps` so that a
# row of equal numbers does not divide by zero. Weight and bias let the model undo the normalisation where that is
# better.


# %%
class LayerNorm(nn.Module):
    def __init__(self, width, eps=1e-5):
        super().__init__()
        self.weight, self.bias = nn.Parameter(tg.ones(width)), nn.Parameter(tg.zeros(width))
        self.eps = eps

    def forward(self, x):
        centred = x - x.mean(dim=-1, keepdim=True)
        variance = (centred * centred).mean(dim=-1, keepdim=True)
        return self.weight * centred / (variance + self.eps).sqrt() + self.bias


y = LayerNorm(5)(examples)
print("mean", abs(y.numpy().mean(axis=-1)).round(4), " variance", y.numpy().var(axis=-1).round(4))
print("as the op:", np.allclose(y.numpy(), ops.layer_norm(examples, tg.ones(5), tg.zeros(5)).numpy(), atol=1e-6))

# prints:
#   mean [0. 0.]  variance [1. 1.]
#   as the op: True

# %% [markdown]
# ## Why a norm at all?
#
# Without it the numbers grow or shrink from layer to layer. Ten linear layers with weights a little too large:

# %%
x, normed = np.random.default_rng(0).normal(size=(2, 1, 64))
for layer in range(10):
    w = np.random.default_rng(layer).normal(0, 0.25, (64, 64))
    x, normed = x @ w, normed @ w
    normed = (normed - normed.mean()) / normed.std()
print(f"after ten layers: without a norm {x.std():.0f}, with it {normed.std():.0f}")

# prints:
#   after ten layers: without a norm 684, with it 1

# %% [markdown]
# ## The feed-forward layer
#
# Four times as wide in the middle, GELU (lesson 8) between. It sees each token alone: attention moves information
# between tokens, this layer works on what has arrived.


# %%
class FeedForward(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        return self.narrow(ops.gelu(self.wide(x)))


feed_forward = FeedForward(config.n_embd)
x = tg.rand(2, 3, config.n_embd)
print("in", x.shape, " out", feed_forward(x).shape)
alone = feed_forward(x[:, 1:2]).numpy()
print("each token alone:", np.allclose(feed_forward(x).numpy()[:, 1:2], alone, atol=1e-5))

# prints:
#   in (2, 3, 768)  out (2, 3, 768)
#   each token alone: True

# %% [markdown]
# ## Its parameters
#
# Two thirds of a block are here. The book counts 4,722,432 in chapter 4, and 2,360,064 in attention.

# %%
width = config.n_embd
count = sum(p.size for p in feed_forward.parameters())
attention = 3 * width * width + width * width + width
print(f"feed-forward {count:,}   attention {attention:,}   share {count / (count + attention):.2f}")

# prints:
#   feed-forward 4,722,432   attention 2,360,064   share 0.67

# %% [markdown]
# ## Try it
#
# Replace layer norm by RMS norm in the loop of ten layers. Is the mean needed there?
