# %% [markdown]
# # 36. Learning from a checker
#
# Supervised training needs solutions. A checker needs only answers: it says right or wrong. That is a reward, and a
# model can be trained to get more of it. The reward has no gradient; this lesson shows where the gradient comes from.

# %%
import numpy as np

from tinygrad_gpt import gradcheck, no_grad, ops
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.optim import AdamW
from tinygrad_gpt.recipes.instructions.reward import advantages, policy_loss

# %% [markdown]
# ## The gradient of a mean over draws
#
# The mean reward is `Σ p(answer) · r(answer)` over all answers. Only `p` depends on the weights, and `∇p = p ∇ln p`.
# So the gradient is the mean of `r · ∇ln p` over answers that the model draws: make an answer likelier in proportion
# to its reward. A constant may be taken off `r` without changing the mean, since `Σ ∇p = ∇1 = 0`; with the mean of
# `r` it makes the draws far less noisy. What is left, `r − mean(r)`, is called the advantage.

# %%
z, reward = np.array([0.5, 1.0, -0.5]), np.array([1.0, 0.0, 0.0])  # three answers, the first is right
p = np.exp(z) / np.exp(z).sum()
exact = p * (reward - p @ reward)  # by softmax's rule, lesson 5
draws = np.random.default_rng(0).choice(3, size=4000, p=p)
one_hot = np.eye(3)[draws]
plain = reward[draws, None] * (one_hot - p)
with_mean = (reward[draws] - p @ reward)[:, None] * (one_hot - p)
print("exact             ", exact.round(2))
print("mean over draws   ", plain.mean(axis=0).round(2), f" spread of one draw {plain.std(axis=0).mean():.2f}")
print("with the advantage", with_mean.mean(axis=0).round(2), f" spread of one draw {with_mean.std(axis=0).mean():.2f}")

# prints:
#   exact              [ 0.22 -0.18 -0.04]
#   mean over draws    [ 0.22 -0.18 -0.04]  spread of one draw 0.21
#   with the advantage [ 0.22 -0.18 -0.04]  spread of one draw 0.14

# %% [markdown]
# ## The model and its task
#
# Those of lesson 35: three numbers, the sum of two, the sum of three. Sixty questions have solutions. For the other
# 65 there is only the checker.

# %%
MARK = 15
QUESTIONS = np.array([(a, b, c) for a in range(5) for b in range(5) for c in range(5)])
SOLVED = np.array([(a, b, c, MARK, a + b, a + b + c) for a, b, c in QUESTIONS])
order = np.random.default_rng(0).permutation(len(QUESTIONS))
TRAINING, UNSOLVED = SOLVED[order[:60]], QUESTIONS[order[60:]]
model = GPT2(GPT2Config(vocab_size=16, n_ctx=6, n_embd=32, n_layer=2, n_head=4), seed=0).double()


def supervised(steps, lr):
    optimizer, generator = AdamW(model.parameters(), lr=lr, weight_decay=0.1), np.random.default_rng(1)
    for _ in range(steps):
        batch = TRAINING[generator.integers(0, len(TRAINING), 64)]
        targets = batch[:, 1:].copy()
        targets[:, :3] = -100
        optimizer.zero_grad()
        model.loss(batch[:, :-1], targets).backward()
        optimizer.step()


def answered(questions, generator):
    """The questions with thought and answer, drawn: (B, 6)."""
    ids = np.concatenate([questions, np.full((len(questions), 1), MARK)], axis=1)
    for _ in range(2):
        with no_grad():
            scores = model(ids).numpy()[:, -1]
        drawn = (scores + generator.gumbel(size=scores.shape)).argmax(axis=1)
        ids = np.concatenate([ids, drawn[:, None]], axis=1)
    return ids


def checked(ids):
    """The reward: 1 if the last number is the sum of the first three. The thought is not looked at."""
    return (ids[:, 5] == ids[:, :3].sum(axis=1)).astype(float)


def exact_match(questions, draws=16):
    generator = np.random.default_rng(3)
    return np.mean([checked(answered(questions, generator)) for _ in range(draws)])


supervised(100, 3e-3)
print(f"after supervised training: right in {exact_match(TRAINING[:, :3]):.0%} of the solved questions, "
      f"{exact_match(UNSOLVED):.0%} of the others")

# prints:
#   after supervised training: right in 58% of the solved questions, 46% of the others

# %% [markdown]
# ## The objective
#
# Eight answers to each question. The advantage of an answer is its reward less the mean of its eight. A question
# whose answers are all right or all wrong teaches nothing. The objective is minus the mean of advantage times `ln p`;
# its gradient by `ln p` is minus advantage over the number of answers.


# %%
def log_p(ids):
    """Of thought and answer together, (B)."""
    each = ops.log_softmax(model(ids[:, :-1]))
    rows = np.arange(len(ids))
    return each[rows, 3, ids[:, 4]] + each[rows, 4, ids[:, 5]]


advantage = advantages(np.array([[1.0, 0.0, 0.0, 0.0]])).ravel()  # four answers, the first is right
report = gradcheck(lambda x: policy_loss(x, advantage), np.array([-1.0, -2.0, -0.5, -3.0]))
print("advantages", advantage, "  wrong entries", len(report.wrong), "of", len(report.entries))
print("gradient", [round(e.analytic, 4) for e in sorted(report.entries, key=lambda e: e.index)])

# prints:
#   advantages [ 0.75 -0.25 -0.25 -0.25]   wrong entries 0 of 4
#   gradient [-0.1875, 0.0625, 0.0625, 0.0625]

# %% [markdown]
# ## Train on rewards alone

# %%
optimizer, generator = AdamW(model.parameters(), lr=5e-4, weight_decay=0.0), np.random.default_rng(4)
for step in range(1, 121):
    questions = np.repeat(UNSOLVED[generator.integers(0, len(UNSOLVED), 16)], 8, axis=0)
    ids = answered(questions, generator)
    rewards = checked(ids).reshape(16, 8)
    optimizer.zero_grad()
    policy_loss(log_p(ids), advantages(rewards).ravel()).backward()
    optimizer.step()
    if step % 40 == 0:
        print(f"step {step:3}: right in {exact_match(UNSOLVED):.0%}")

# prints:
#   step  40: right in 56%
#   step  80: right in 63%
#   step 120: right in 66%

# %% [markdown]
# ## What was rewarded, and what was not
#
# The checker looks at the last number only. Is the thought still the sum of two numbers? Whatever a reward does not
# look at may drift.

# %%
ids = np.concatenate([answered(UNSOLVED, generator) for _ in range(16)])
thoughts = ids[:, 4] == ids[:, 0] + ids[:, 1]
print(f"answers right {checked(ids).mean():.0%}, thoughts right {thoughts.mean():.0%}")
print(f"on the solved questions, which it was not rewarded for: {exact_match(TRAINING[:, :3]):.0%}")

# prints:
#   answers right 69%, thoughts right 77%
#   on the solved questions, which it was not rewarded for: 64%

# %% [markdown]
# Large models are trained in this way on mathematics and programs, with two additions: the ratio of probabilities is
# clipped when one draw is used for several steps, and a penalty keeps the model near where it started. Source of the
# group's mean: Shao et al. 2024, arXiv:2402.03300.
#
# ## Try it
#
# Reward right thoughts too. Or take the learning rate six times as large, and see what happens to the exact match.
