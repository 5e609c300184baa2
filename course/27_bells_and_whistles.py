# %% [markdown]
# # 27. Warm-up, cosine decay and clipping, in a training
#
# The book's appendix D adds three things to the loop of lesson 21. Lesson 10 has their formulas; this one measures
# what they do: warm-up and decay together, and clipping.

# %%
import numpy as np

from tinygrad_gpt import no_grad
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.nn.utils import clip_grad_norm_
from tinygrad_gpt.optim import AdamW, warmup_cosine

generator = np.random.default_rng(0)
PARTS = (["the"], ["cat", "dog", "fox", "hen", "owl"], ["sees", "hears", "likes", "fears"], ["the"],
         ["mouse", "snake", "bear", "moon"], ["in", "near", "under"], ["the"], ["tree", "house", "barn"], ["."])
WORDS = sorted({word for part in PARTS for word in part})
tokens = np.array([[WORDS.index(generator.choice(part)) for part in PARTS] for _ in range(300)]).ravel()
CONFIG = GPT2Config(vocab_size=len(WORDS), n_ctx=9, n_embd=24, n_layer=2, n_head=2)
STEPS, WARMUP, PEAK = 100, 20, 0.014

# %% [markdown]
# ## The three
#
# - **Warm-up**: the learning rate rises in a straight line for the first fifth of the steps.
# - **Cosine decay**: after that it falls to nearly nothing.
# - **Clipping**: if all gradients together are longer than 1, they are scaled down to 1.


# %%
def learning_rate(step, schedule):
    return warmup_cosine(step, STEPS, peak=PEAK, warmup=WARMUP, initial=1e-4, minimum=1e-4) if schedule else PEAK


print("learning rates:", [round(learning_rate(step, True), 4) for step in (0, 10, 20, 60, 99)])

# prints:
#   learning rates: [0.0001, 0.0071, 0.014, 0.0071, 0.0001]

# %% [markdown]
# ## Measured
#
# The peak of 0.014 is too high on purpose: nearly five times the learning rate of lesson 21. Now and then a batch of
# this text is spoilt, its targets drawn at random, as a page of garbage in a large collection would be.


# %%
def train(schedule, clip):
    """The loss on clean text after each step, and the lengths of the gradients."""
    model = GPT2(CONFIG, seed=0).double()
    optimizer = AdamW(model.parameters(), lr=PEAK, weight_decay=0.1)
    draw, losses, lengths = np.random.default_rng(2), [], []
    for step in range(STEPS):
        starts = draw.integers(0, len(tokens) - CONFIG.n_ctx - 1, 12)
        windows = np.array([tokens[start:start + CONFIG.n_ctx + 1] for start in starts])
        if step % 10 == 5:
            windows[:, 1:] = draw.integers(0, len(WORDS), windows[:, 1:].shape)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, schedule)
        optimizer.zero_grad()
        model.loss(windows[:, :-1], windows[:, 1:]).backward()
        lengths.append(float(clip_grad_norm_(model.parameters(), 1.0 if clip else 1e9).item()))
        optimizer.step()
        with no_grad():
            losses.append(model.loss(CLEAN[:, :-1], CLEAN[:, 1:]).item())
    return np.array(losses), np.array(lengths)


CLEAN = np.array([tokens[i:i + 10] for i in range(0, 600, 10)])
print("schedule clipping   after 20 steps   at the end   gradients longer than 1")
for schedule in (False, True):
    for clip in (False, True):
        losses, lengths = train(schedule, clip)
        early, late = losses[15:25].mean(), losses[-10:].mean()
        end = f"{late:.1f}" if late < 1.5 else "above 1.5"  # a run that jumps about differs with the last bit
        print(f"{schedule!s:8} {clip!s:8}   {early:14.1f} {end:>12}   {lengths.max() > 1}")

# prints:
#   schedule clipping   after 20 steps   at the end   gradients longer than 1
#   False    False                 2.6    above 1.5   True
#   False    True                  2.5          1.3   True
#   True     False                 2.1          0.9   True
#   True     True                  2.0          0.8   True

# %% [markdown]
# Either of the two helps, and both together help most. With neither, the model has not recovered after 100 steps.
#
# ## The book's numbers
#
# Section D.1 warms up for a fifth of 135 steps; D.3 clips a matrix of 1, 2, 2, 4, whose length is 5.

# %%
print("steps of warm-up:", int(0.2 * 9 * 15), "  length:", np.sqrt(1 + 4 + 4 + 16))

# prints:
#   steps of warm-up: 27   length: 5.0

# %% [markdown]
# ## Try it
#
# Lower the peak to 0.003. Which of them still helps?
