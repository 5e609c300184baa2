# %% [markdown]
# # 34. Zero- and few-shot prompting
#
# A language model can be asked without any training: write the beginning of a text whose natural continuation is the
# answer (zero-shot), perhaps with some solved examples before it (few-shot). This lesson measures how much that does
# for a small model, and what it does not do.

# %%
import numpy as np

from tinygrad_gpt import no_grad, ops
from tinygrad_gpt.runs.saved_model import load_model

saved = load_model("storyteller")
model, tokenizer = saved.model, saved.tokenizer


def log_p(prompt, answer):
    """ln of the probability of an answer after a prompt: the sum over its tokens."""
    before, after = tokenizer.encode(prompt), tokenizer.encode(answer)
    ids = np.array([[tokenizer.eot_id, *before, *after]])
    with no_grad():
        each = ops.log_softmax(model(ids[:, :-1])).numpy()[0]
    return float(each[np.arange(len(before), len(before) + len(after)), after].sum())

# %% [markdown]
# ## Score, do not generate
#
# To choose among known answers there is no need to let the model write. Compute the probability of each answer and
# take the largest.

# %%
for answer in (" cold", " warm", " table"):
    print(f"{answer!r:9} {log_p('The snow was white and the night was', answer):6.1f}")

# prints:
#   ' cold'     -5.1
#   ' warm'     -4.1
#   ' table'   -13.5

# %% [markdown]
# ## Opposites, with none to six examples
#
# Eight pairs; each is asked with others as examples, and all eight answers are scored.

# %%
PAIRS = [("hot", "cold"), ("big", "small"), ("old", "young"), ("good", "bad"), ("day", "night"), ("up", "down"),
         ("rich", "poor"), ("long", "short")]


def asked(i, n, examples=PAIRS):
    """Pair i behind n other pairs."""
    shown = [pair for j, pair in enumerate(examples) if j != i][:n]
    return "".join(f"{a} and {b}, " for a, b in shown) + f"{PAIRS[i][0]} and"


def score(n, examples=PAIRS):
    """Mean ln p of the right answers, and how many of them score best of the eight."""
    table = np.array([[log_p(asked(i, n, examples), f" {b}") for _, b in PAIRS] for i in range(8)])
    return table.diagonal().mean(), int((table.argmax(axis=1) == np.arange(8)).sum())


results = {n: score(n) for n in (0, 1, 3, 6)}
for n, (mean, right) in results.items():
    print(f"{n} examples: mean ln p {mean:5.1f}   right {right} of 8")

# prints:
#   0 examples: mean ln p  -7.4   right 2 of 8
#   1 examples: mean ln p  -4.5   right 2 of 8
#   3 examples: mean ln p  -5.3   right 3 of 8
#   6 examples: mean ln p  -4.8   right 3 of 8

# %% [markdown]
# Examples make the right answers far more probable, and hardly more often the best. What did they teach? Exchange the
# answers of the examples among one another, so that each is wrong:

# %%
wrong = [(a, PAIRS[(i + 3) % 8][1]) for i, (a, _) in enumerate(PAIRS)]
mean, right = score(6, wrong)
print(f"6 wrong examples: mean ln p {mean:5.1f}   right {right} of 8")

# prints:
#   6 wrong examples: mean ln p  -4.8   right 3 of 8

# %% [markdown]
# So most of the gain is the form: that a single plain adjective follows. Studies of large models found the same in
# part (Min et al. 2022, arXiv:2202.12837). A model of this size has little else; larger models also take up the task.
#
# ## Copying
#
# A name that was read once becomes ten thousand times as probable, and yet the model would hardly write it. Larger
# ones copy well, and much of what they do with examples is built on it.

# %%
for n in range(4):
    prompt = " Her horse was called Bruno." * n + " Her horse was called"
    print(f"read {n} times: ln p of ' Bruno' {log_p(prompt, ' Bruno'):6.1f}")

# prints:
#   read 0 times: ln p of ' Bruno'  -16.3
#   read 1 times: ln p of ' Bruno'   -7.0
#   read 2 times: ln p of ' Bruno'   -6.0
#   read 3 times: ln p of ' Bruno'   -5.5

# %% [markdown]
# ## The prompt is a hyperparameter
#
# The same question in three forms. A result that holds for one wording only is a result about that wording. Compare
# prompts on examples set apart for it, and report on others.

# %%
FORMS = {"{} and": " {}", "not {} but": " {}", "The opposite of {} is": " {}"}
for form, answer in FORMS.items():
    table = np.array([[log_p(form.format(a), answer.format(b)) for _, b in PAIRS] for a, _ in PAIRS])
    print(f"{form:24} right {int((table.argmax(axis=1) == np.arange(8)).sum())} of 8")

# prints:
#   {} and                   right 2 of 8
#   not {} but               right 4 of 8
#   The opposite of {} is    right 2 of 8

# %% [markdown]
# ## Or train
#
# Lesson 25 trains this model on the same eight pairs in 13 steps, and then it knows them. Prompting costs no training
# and longer inputs; training costs once.
#
# ## Try it
#
# Subtract from each score the score of the same answer after an empty prompt. Does that help? Why might it?
