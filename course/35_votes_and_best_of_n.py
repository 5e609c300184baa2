# %% [markdown]
# # 35. Thinking more than once: votes, and the best of N
#
# A model that draws its answers can be asked again. Two ways to make one answer of many: take the most frequent, or
# let a scorer choose. Both cost more computing at use, and no training.

# %%
from collections import Counter

import numpy as np

from tinygrad_gpt import no_grad, ops
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.optim import AdamW
from tinygrad_gpt.recipes.instructions.answers import answer_of

# %% [markdown]
# ## A task with a step between
#
# Three numbers from 0 to 4 are to be added. The text is the three numbers, a mark, the sum of the first two, and the
# whole sum. The number in the middle is a thought, written down: the answer needs it. A small GPT sees 60 of the 125
# questions with their solutions, and is trained for too short a time.

# %%
MARK = 15
QUESTIONS = np.array([(a, b, c) for a in range(5) for b in range(5) for c in range(5)])
SOLVED = np.array([(a, b, c, MARK, a + b, a + b + c) for a, b, c in QUESTIONS])
order = np.random.default_rng(0).permutation(len(QUESTIONS))
TRAINING, TEST = SOLVED[order[:60]], SOLVED[order[60:]]

model = GPT2(GPT2Config(vocab_size=16, n_ctx=6, n_embd=32, n_layer=2, n_head=4), seed=0).double()
optimizer = AdamW(model.parameters(), lr=3e-3, weight_decay=0.1)
generator = np.random.default_rng(1)
for _ in range(100):
    batch = TRAINING[generator.integers(0, len(TRAINING), 64)]
    targets = batch[:, 1:].copy()
    targets[:, :3] = -100  # the question need not be predicted
    optimizer.zero_grad()
    model.loss(batch[:, :-1], targets).backward()
    optimizer.step()
print("questions to learn from", len(TRAINING), "  others", len(TEST))

# prints:
#   questions to learn from 60   others 65

# %% [markdown]
# ## Draw answers


# %%
def answers(questions, generator):
    """Thought and answer to each question, drawn, and ln p of the two: (B, 2), (B)."""
    ids, log_p = np.concatenate([questions, np.full((len(questions), 1), MARK)], axis=1), np.zeros(len(questions))
    for _ in range(2):
        with no_grad():
            each = ops.log_softmax(model(ids)[:, -1]).numpy()
        drawn = (each + generator.gumbel(size=each.shape)).argmax(axis=1)  # a draw from softmax
        log_p += each[np.arange(len(ids)), drawn]
        ids = np.concatenate([ids, drawn[:, None]], axis=1)
    return ids[:, 4:], log_p


draw = np.random.default_rng(2)
drawn = [answers(TEST[:, :3], draw) for _ in range(32)]
finals = np.array([each[0][:, 1] for each in drawn])  # (32, 65)
scores = np.array([each[1] for each in drawn])
right = finals == TEST[:, 5]
print(f"one answer is right in {right.mean():.0%}")
print("one question, eight answers:", TEST[0, :3], finals[:8, 0].tolist(), " right is", TEST[0, 5])

# prints:
#   one answer is right in 46%
#   one question, eight answers: [3 1 1] [4, 5, 8, 5, 5, 5, 6, 6]  right is 5

# %% [markdown]
# ## Vote
#
# Take the most frequent answer. Wrong answers are wrong in many ways, right ones agree: so the vote is right more
# often than one answer. Different thoughts may lead to the same answer; their votes are added.


# %%
def vote(n):
    return np.array([Counter(column).most_common(1)[0][0] for column in finals[:n].T])


for n in (1, 4, 16, 32):
    print(f"vote of {n:2}: right in {(vote(n) == TEST[:, 5]).mean():.0%}")

# prints:
#   vote of  1: right in 46%
#   vote of  4: right in 55%
#   vote of 16: right in 63%
#   vote of 32: right in 62%

# %% [markdown]
# ## The best of N
#
# A scorer gives each answer a number. The model itself can be one, by the probability that it gave to thought and
# answer together. A checker that knows whether an answer is right is the best one; for arithmetic, programs and
# proofs there is one. It shows what is possible: whether any answer of N is right.

# %%
for n in (1, 4, 16, 32):
    chosen = finals[scores[:n].argmax(axis=0), np.arange(len(TEST))]
    print(f"best of {n:2}: by its own probability {(chosen == TEST[:, 5]).mean():4.0%}   "
          f"by a checker {right[:n].any(axis=0).mean():4.0%}")

# prints:
#   best of  1: by its own probability  46%   by a checker  46%
#   best of  4: by its own probability  58%   by a checker  77%
#   best of 16: by its own probability  62%   by a checker  92%
#   best of 32: by its own probability  62%   by a checker  97%

# %% [markdown]
# ## A scorer that is wrong
#
# The more answers there are, the better a scorer's mistakes are found. Here is one that likes large sums: with one
# answer it does no harm, with many it finds the answers that please it.

# %%
for n in (1, 4, 32):
    print(f"best of {n:2} by a scorer that likes large numbers: {(finals[:n].max(axis=0) == TEST[:, 5]).mean():.0%}")

# prints:
#   best of  1 by a scorer that likes large numbers: 46%
#   best of  4 by a scorer that likes large numbers: 45%
#   best of 32 by a scorer that likes large numbers: 2%

# %% [markdown]
# ## What it costs
#
# N answers cost N times the computing. A vote gains little beyond a few, since it can only find what the model thinks
# most likely: with a model that is more often wrong than right about a question it settles on the wrong answer.

# %%
sure, voted = right.mean(axis=0) > 0.5, vote(32) == TEST[:, 5]
print(f"questions answered right more often than not: {sure.mean():.0%}")
print(f"the vote of 32 is right in {voted[sure].mean():.0%} of these and {voted[~sure].mean():.0%} of the others")

# prints:
#   questions answered right more often than not: 55%
#   the vote of 32 is right in 100% of these and 14% of the others

# %% [markdown]
# ## With texts
#
# A model that writes sentences has to be read first: what is its answer? The package takes the last number, written
# in one way. `python cli.py respond --votes 8` and `--best-of 8` then choose as above.

# %%
for text in ("3 and 1 are 4, and 1 more makes 5.", "The answer is 5.0", "Five, I think"):
    print(f"{text!r} -> {answer_of(text)!r}")

# prints:
#   '3 and 1 are 4, and 1 more makes 5.' -> '5'
#   'The answer is 5.0' -> '5'
#   'Five, I think' -> 'five, i think'

# %% [markdown]
# ## Try it
#
# Divide the scores before drawing by a temperature of 0.5 or 2. What happens to one answer, to the vote, to the
# checker's best?
