# %% [markdown]
# # 22. Drawing the next word
#
# The book's section 5.3. Always taking the best word makes dull texts that go in circles. Drawing a word by its
# probability makes surprising ones. Two numbers set how surprising. The counts are those that the book prints.

# %%
import numpy as np

import tinygrad_gpt as tg
from tinygrad_gpt import ops
from tinygrad_gpt.generate.decode import decode
from tinygrad_gpt.generate.sampling import Sampling
from tinygrad_gpt.runs.saved_model import load_model

WORDS = ["closer", "every", "effort", "forward", "inches", "moves", "pizza", "toward", "you"]
LOGITS = tg.tensor([4.51, 0.89, -1.90, 6.75, 1.63, -1.62, -1.89, 6.28, 1.79])  # after "every effort moves you"

# %% [markdown]
# ## The best, or one drawn


# %%
def counts(p, draws=1000):
    """How often each word comes when words are drawn with these probabilities."""
    tg.manual_seed(123)
    drawn = np.bincount([tg.multinomial(p, num_samples=1).item() for _ in range(draws)], minlength=len(WORDS))
    return {word: int(n) for word, n in zip(WORDS, drawn, strict=True) if n}


p = ops.softmax(LOGITS)
print("the best:", WORDS[int(p.numpy().argmax())])
print("drawn:   ", counts(p))

# prints:
#   the best: forward
#   drawn:    {'closer': 73, 'forward': 582, 'inches': 2, 'toward': 343}

# %% [markdown]
# ## Temperature
#
# Divide the logits by a number before softmax. Below 1 the differences grow, and the best word takes nearly all.
# Above 1 they shrink, and everything becomes possible, also "pizza", at 4.3 %.

# %%
for temperature in (0.1, 1, 5):
    p = ops.softmax(LOGITS / temperature)
    print(f"temperature {temperature}: pizza {100 * p.numpy()[6]:.1f} %")
    print("  ", *[f"{word} {n}" for word, n in counts(p).items()])

# prints:
#   temperature 0.1: pizza 0.0 %
#      forward 985 toward 15
#   temperature 1: pizza 0.0 %
#      closer 73 forward 582 inches 2 toward 343
#   temperature 5: pizza 4.3 %
#      closer 165 every 75 effort 42 forward 239 inches 71 moves 46 pizza 32 toward 227 you 103

# %% [markdown]
# The temperature changes no order: the best word stays the best. At 0 it means "take the best"; dividing by 0 is not
# meant.
#
# ## Top-k
#
# Keep the `k` largest logits and set all others to minus infinity. So a high temperature brings variety among good
# words, and "pizza" has no chance.

# %%
top, places = tg.topk(LOGITS, 3)
kept = ops.where(LOGITS.numpy() < top.numpy()[-1], -np.inf, LOGITS)
print("largest", top.numpy(), "at", places.tolist())
print("probabilities", ops.softmax(kept).numpy().round(4))

# prints:
#   largest [6.75 6.28 4.51] at [3, 7, 0]
#   probabilities [0.0615 0.     0.     0.5775 0.     0.     0.     0.361  0.    ]

# %% [markdown]
# ## Top-p
#
# A fixed `k` is too large where one word is certain, and too small where everything is open. Top-p keeps the fewest
# words that together have the probability `p`.


# %%
def top_p(p, share):
    order = np.argsort(-p)
    needed = np.searchsorted(np.cumsum(p[order]), share) + 1
    return [WORDS[i] for i in order[:needed]]


for temperature in (0.5, 1, 5):
    print(f"temperature {temperature}:", top_p(ops.softmax(LOGITS / temperature).numpy(), 0.9))

# prints:
#   temperature 0.5: ['forward', 'toward']
#   temperature 1: ['forward', 'toward']
#   temperature 5: ['forward', 'toward', 'closer', 'you', 'inches', 'every', 'moves']

# %% [markdown]
# ## On a model
#
# The storyteller, with one beginning and three settings. Each draw depends only on the seed, the sample and the step.

# %%
saved = load_model("storyteller")
prompt = [saved.tokenizer.eot_id, *saved.tokenizer.encode("The old man opened the door and")]
for settings in ({"temperature": 0}, {"temperature": 0.8, "top_k": 20, "seed": 1}, {"temperature": 2.0, "seed": 1}):
    tokens = decode(saved.model, saved.tokenizer, [prompt], Sampling(**settings), max_new_tokens=14)
    print(settings, "".join(token.text for token in tokens))

# prints:
#   {'temperature': 0}  saw a big dog. He saw a big dog. He saw a
#   {'temperature': 0.8, 'top_k': 20, 'seed': 1}  said, "Maybe it was a fine little girl. I
#   {'temperature': 2.0, 'seed': 1}  suck Phen held fierce dead not, From Heronell's

# %% [markdown]
# ## Try it
#
# At which temperature does "pizza" come once in a thousand draws?
