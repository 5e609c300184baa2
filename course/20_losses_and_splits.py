# %% [markdown]
# # 20. The loss of a text, and what to measure it on
#
# The book's section 5.1. The loss asks for every token of a text how probable the model thought it was.

# %%
import math
import os
from pathlib import Path

import numpy as np

from tinygrad_gpt import no_grad, ops
from tinygrad_gpt.runs.saved_model import load_model
from tinygrad_gpt.text import get_encoding

saved = load_model("storyteller")
model, tokenizer = saved.model.eval(), saved.tokenizer


def losses(text):
    """Tokens of a text, and −ln p of each after those before it."""
    ids = np.array([[tokenizer.eot_id, *tokenizer.encode(text)]])
    with no_grad():
        logits = model(ids[:, :-1])
    log_p = ops.log_softmax(logits).numpy()[0]
    targets = ids[0, 1:]
    return [tokenizer.decode([i]) for i in targets.tolist()], -log_p[np.arange(len(targets)), targets]


tokens, each = losses("Once upon a time there was a king.")
for token, value in zip(tokens, each, strict=True):
    print(f"{token!r:8} p = {math.exp(-value):.3f}   −ln p = {value:.2f}")

# prints:
#   'Once'   p = 0.600   −ln p = 0.51
#   ' upon'  p = 0.885   −ln p = 0.12
#   ' a'     p = 0.974   −ln p = 0.03
#   ' time'  p = 0.830   −ln p = 0.19
#   ' there' p = 0.245   −ln p = 1.41
#   ' was'   p = 0.705   −ln p = 0.35
#   ' a'     p = 0.859   −ln p = 0.15
#   ' king'  p = 0.000   −ln p = 7.76
#   '.'      p = 0.109   −ln p = 2.22

# %% [markdown]
# ## From probabilities to the loss
#
# The probability of the whole text is the product of these numbers, and that of a long text is too small to compute
# with. So take logarithms and average: products become sums. The minus sign makes it something to make smaller.

# %%
print(f"product of the probabilities {np.exp(-each).prod():.1e}")
print(f"loss, the mean of −ln p      {each.mean():.3f}")
print(f"perplexity, e to the loss    {math.exp(each.mean()):.1f}")

# prints:
#   product of the probabilities 3.0e-06
#   loss, the mean of −ln p      1.414
#   perplexity, e to the loss    4.1

# %% [markdown]
# Perplexity reads as a number of equally likely choices. A model that knows nothing has the size of its vocabulary.
#
# ## It is cross-entropy

# %%
ids = np.array([[tokenizer.eot_id, *tokenizer.encode("Once upon a time there was a king.")]])
with no_grad():
    loss = ops.cross_entropy(model(ids[:, :-1]), ids[:, 1:]).item()
print(f"by the op {loss:.3f}   of a model that knows nothing {math.log(tokenizer.vocab_size):.3f}")

# prints:
#   by the op 1.414   of a model that knows nothing 8.318

# %% [markdown]
# ## What is the loss good for?
#
# It compares texts for one model, and models for one text. Three sentences, the last of scrambled words:

# %%
for text in ("The little girl went into the garden to see the flowers.",
             "The central bank raised its interest rate by a quarter.",
             "Flowers the see to garden the into went girl little the."):
    print(f"{losses(text)[1].mean():.2f}  {text}")

# prints:
#   2.44  The little girl went into the garden to see the flowers.
#   6.34  The central bank raised its interest rate by a quarter.
#   8.65  Flowers the see to garden the into went girl little the.

# %% [markdown]
# Losses per token of two models can be compared only when both cut texts into the same tokens. Per byte they always
# can:

# %%
text = "The little girl went into the garden to see the flowers."
print(f"bits per byte {losses(text)[1].sum() / math.log(2) / len(text.encode()):.2f}")

# prints:
#   bits per byte 0.75

# %% [markdown]
# ## Hold a part back
#
# A model can learn its training text by heart. So a part of the text is never trained on, and its loss tells whether
# what was learnt holds elsewhere. Cut first and make windows afterwards; windows that overlap the cut would leak.

# %%
numbers = np.arange(100)
cut = int(0.9 * len(numbers))
training, validation = numbers[:cut], numbers[cut:]


def windows(row, length):
    starts = range(0, len(row) - length, length)
    return [(row[i:i + length], row[i + 1:i + length + 1]) for i in starts]


seen = {int(i) for pair in windows(training, 8) for part in pair for i in part}
held = {int(i) for pair in windows(validation, 4) for part in pair for i in part}
print("windows:", len(windows(training, 8)), "and", len(windows(validation, 4)), "  in both:", sorted(seen & held))

# prints:
#   windows: 11 and 2   in both: []

# %% [markdown]
# ## With the book's text
#
# Set `THE_VERDICT` to the path of the book's text, and the cell prints what section 5.1.3 prints: `characters 20479
# tokens 5145   batches 9 and 1   tokens in them 4608 and 512`

# %%
if path := os.environ.get("THE_VERDICT"):
    verdict, bpe = Path(path).read_text(encoding="utf-8"), get_encoding("gpt2")
    cut = int(0.9 * len(verdict))
    counts = [len(windows(bpe.encode(part), 256)) for part in (verdict[:cut], verdict[cut:])]
    print(f"characters {len(verdict)}   tokens {len(bpe.encode(verdict))}   batches {counts[0] // 2} and "
          f"{counts[1] // 2}   tokens in them {256 * counts[0]} and {256 * counts[1]}")
else:
    print("THE_VERDICT is not set")

# prints:
#   THE_VERDICT is not set

# %% [markdown]
# ## Try it
#
# Which token of your own sentence surprises the model most? Print the three largest losses.
