# %% [markdown]
# # 24. From a language model to a classifier
#
# The book's chapter 6, sections 6.1 to 6.8, in Python. A model that can continue texts already knows much about them.
# Take off its head, put a small one on, and a few dozen labelled texts teach it to sort.

# %%
import numpy as np

import tinygrad_gpt as tg
from tinygrad_gpt import nn, no_grad, ops
from tinygrad_gpt.optim import AdamW
from tinygrad_gpt.runs.saved_model import load_model

# %% [markdown]
# ## The texts (6.2)
#
# Made-up notes, "order" and "story" in place of spam and ham. There are far more stories. A model trained on such a
# mixture can be right often by always saying "story", so stories are left out until both are equally many. This
# throws texts away; weights in the loss would not.

# %%
generator = np.random.default_rng(0)
ORDERS = ["please bring {} {} tomorrow", "we need {} {} at once", "send {} {} to the house", "i would like {} {}"]
STORIES = ["the old man saw {} {} in the wood", "once there were {} {} by the river", "she dreamt of {} {} that night",
           "he told her about {} {} and laughed"]
NUMBERS, THINGS = ["two", "three", "seven", "ten"], ["apples", "candles", "horses", "boats", "lamps", "birds"]


def made(patterns, n):
    return [generator.choice(patterns).format(generator.choice(NUMBERS), generator.choice(THINGS)) for _ in range(n)]


orders, stories = made(ORDERS, 60), made(STORIES, 400)
always = len(stories) / (len(orders) + len(stories))
stories = [stories[i] for i in generator.choice(len(stories), len(orders), replace=False)]
texts = [(text, 1) for text in orders] + [(text, 0) for text in stories]
texts = [texts[i] for i in generator.permutation(len(texts))]
train, test = texts[:40], texts[40:]
print(f'always "story" is right in {always:.0%}; after balancing {len(orders)} and {len(stories)}')
print("training:", len(train), "  test:", len(test), "  for example", train[0])

# prints:
#   always "story" is right in 87%; after balancing 60 and 60
#   training: 40   test: 80   for example ('i would like two boats', 1)

# %% [markdown]
# ## Batches (6.3)
#
# Texts of a batch are filled up to the longest. With a causal mask the filling cannot be seen by the text before it,
# so the right place to read is the last real token, the one that has seen the whole text. (The book reads the last
# position, which is filling for most texts: it works too, but less well: `docs/experiments.md` measures it.)

# %%
saved = load_model("storyteller")
model, tokenizer = saved.model, saved.tokenizer


def batch(texts):
    """ids (B, T), the place of the last real token (B), labels (B)"""
    rows = [[tokenizer.eot_id, *tokenizer.encode(text)] for text, _ in texts]
    ids = np.full((len(rows), max(map(len, rows))), tokenizer.eot_id)
    for i, row in enumerate(rows):
        ids[i, :len(row)] = row
    return ids, np.array([len(row) - 1 for row in rows]), np.array([label for _, label in texts])


ids, last, labels = batch(train[:4])
print("batch", ids.shape, " last real tokens at", last.tolist(), " labels", labels.tolist())

# prints:
#   batch (4, 9)  last real tokens at [6, 8, 8, 8]  labels [1, 1, 1, 1]

# %% [markdown]
# ## A new head (6.5)
#
# Two scores in place of 4,096. All old weights are frozen but the last block and the last norm: what the model knows
# of language stays, and the backward pass ends early.

# %%
tg.manual_seed(123)
head = nn.Linear(model.config.n_embd, 2)
model.freeze()
model.h[-1].freeze(False)
model.ln_f.freeze(False)
parameters = [p for p in (*model.parameters(), *head.parameters()) if p.requires_grad]
size = model.size + sum(p.size for p in head.parameters())
print(f"of {size:,} parameters {sum(p.size for p in parameters):,} learn")


def scores(ids, last):
    return head(model.ln_f(model.hidden(ids))[np.arange(len(ids)), last])

# prints:
#   of 4,444,418 parameters 445,634 learn

# %% [markdown]
# ## Loss and accuracy (6.6)
#
# What counts is how many are right. But that number jumps, and has no gradient. So cross-entropy is trained, which is
# small when the right score is the larger one.


# %%
def measure(texts):
    ids, last, labels = batch(texts)
    with no_grad():
        z = scores(ids, last)
    return ops.cross_entropy(z, labels).item(), float((z.numpy().argmax(axis=1) == labels).mean())


loss, accuracy = measure(test)
print(f"before: loss {loss:.1f}, accuracy {accuracy:.0%}")

# prints:
#   before: loss 0.8, accuracy 64%

# %% [markdown]
# ## Train (6.7)

# %%
optimizer = AdamW(parameters, lr=1e-3, weight_decay=0.1)
for epoch in range(2):
    for start in range(0, len(train), 8):
        ids, last, labels = batch(train[start:start + 8])
        optimizer.zero_grad()
        ops.cross_entropy(scores(ids, last), labels).backward()
        optimizer.step()
    loss, accuracy = measure(test)
    print(f"epoch {epoch + 1}: loss {loss:.1f}, accuracy {accuracy:.0%}")

# prints:
#   epoch 1: loss 0.1, accuracy 100%
#   epoch 2: loss 0.0, accuracy 100%

# %% [markdown]
# ## Use it (6.8)
#
# A probability belongs to an answer. These sentences fit none of the patterns.


# %%
def classify(text):
    ids, last, _ = batch([(text, 0)])
    with no_grad():
        p = ops.softmax(scores(ids, last)).numpy()[0]
    return ("story", "order")[int(p.argmax())], float(p.max())


for text in ("please send me a boat", "the king slept in his boat", "could you bring us some water"):
    label, p = classify(text)
    print(f"{label} {p:.1f}  {text}")

# prints:
#   order 0.9  please send me a boat
#   story 0.9  the king slept in his boat
#   order 0.7  could you bring us some water

# %% [markdown]
# ## The real one
#
# `sms-spam`, which ships, was made in this way from thousands of messages, with all layers learning, and from what two
# other classifiers say of them. It is right in 98.74 % of those that it had not seen. A bag of words comes close
# (`weights/README.md`): measure the simple thing, too.

# %%
spam = load_model("sms-spam")
for text in ("WINNER!! Claim your free prize now, text WIN to 80082", "See you at lunch"):
    ids = np.array([[spam.tokenizer.eot_id, *spam.tokenizer.encode(text)]])
    with no_grad():
        p = ops.softmax(spam.model(ids, np.array([ids.size]))).numpy()[0]
    print(f"{spam.labels[int(p.argmax())]:4} {p.max():.3f}  {text}")
print(f"accuracy {100 * spam.provenance['test_accuracy']:.2f} %, F1 {spam.provenance['test_f1']:.3f}")

# prints:
#   spam 0.984  WINNER!! Claim your free prize now, text WIN to 80082
#   ham  0.989  See you at lunch
#   accuracy 98.74 %, F1 0.948

# %% [markdown]
# ## Try it
#
# Train the head alone (leave `model.h[-1]` frozen). Then read the last position in place of the last real token.
