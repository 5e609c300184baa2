# %% [markdown]
# # 5. Softmax and the loss
#
# Softmax turns scores into probabilities; cross-entropy asks how much probability the right answer got. Together they
# have the shortest gradient of the model: what is predicted minus what is true.

# %%
import numpy as np

from tinygrad_gpt import Tensor, ops

z = np.array([2.0, 1.0, 0.1])


def softmax(z):
    e = np.exp(z - z.max())  # the largest exponent is 0: nothing overflows, and the quotient is the same
    return e / e.sum()


p = softmax(z)
print("probabilities", p.round(4), " sum", p.sum().round(12))

# prints:
#   probabilities [0.659  0.2424 0.0986]  sum 1.0

# %% [markdown]
# ## Its Jacobian
#
# Each probability depends on every score: `∂p_i/∂z_j = p_i (δ_ij − p_j)`. Nobody builds this matrix. Multiplied by a
# gradient `g` it becomes one line: `z̄ = p ⊙ (g − Σ p ⊙ g)`.

# %%
jacobian = np.diag(p) - np.outer(p, p)
g = np.array([1.0, -2.0, 0.5])
z_grad = p * (g - (p * g).sum())
print("by the Jacobian", (jacobian @ g).round(6))
print("in one line    ", z_grad.round(6))

# prints:
#   by the Jacobian [ 0.511768 -0.53903   0.027262]
#   in one line     [ 0.511768 -0.53903   0.027262]

# %% [markdown]
# ## Why a seed of ones is blind
#
# A popular check calls `y.sum().backward()`, which sends ones back. The probabilities sum to 1 whatever the scores
# are, so this gradient is zero, and rules that are plainly wrong give zero too. A random `g` sees them.


# %%
def right(g):
    return p * (g - (p * g).sum())


def negated(g):
    return -right(g)


def tenfold(g):
    return 10 * right(g)


def nothing(g):
    return 0 * g


numeric = jacobian @ g
for rule in (right, negated, tenfold, nothing):
    with_ones = np.allclose(rule(np.ones(3)), 0)
    with_random = np.allclose(rule(g), numeric)
    print(f"{rule.__name__:8} passes with ones: {with_ones!s:5} with a random seed: {with_random}")

# prints:
#   right    passes with ones: True  with a random seed: True
#   negated  passes with ones: True  with a random seed: False
#   tenfold  passes with ones: True  with a random seed: False
#   nothing  passes with ones: True  with a random seed: False

# %% [markdown]
# ## Cross-entropy
#
# `loss = −ln p[target]`. The logarithm undoes the exponential, and what remains is `p` with 1 subtracted at the
# target.

# %%
target = 0
loss = -np.log(p[target])
z_grad = p - np.eye(3)[target]
print(f"loss {loss:.6f}")
print("gradient", z_grad.round(6), " sum", abs(z_grad.sum().round(12)))

t = Tensor(z, requires_grad=True)
ops.cross_entropy(t, target).backward()
print("engine  ", t.grad.numpy().round(6))

# prints:
#   loss 0.417030
#   gradient [-0.340999  0.242433  0.098566]  sum 0.0
#   engine   [-0.340999  0.242433  0.098566]

# %% [markdown]
# Read it: every wrong class is pushed down by the probability that it got, and the right one up by what it lacks.
# When the model is right and sure, the gradient is zero and nothing is learnt.
#
# ## Many tokens, some of which do not count
#
# The loss of a text is the mean over its tokens. Padding is left out: its target is −100, and the mean is over those
# that count. Forgetting the division by the number of tokens is the usual mistake here. Its gradient points the right
# way.

# %%
logits = np.array([[-1.0, 1.0], [-0.5, 1.5], [-0.5, 1.5]])
for targets in ([0, 1], [0, 1, 1], [0, 1, -100]):
    value = ops.cross_entropy(Tensor(logits[:len(targets)]), np.array(targets)).item()
    print(f"targets {targets!s:13} loss {value:.4f}")

# prints:
#   targets [0, 1]        loss 1.1269
#   targets [0, 1, 1]     loss 0.7936
#   targets [0, 1, -100]  loss 1.1269

# %% [markdown]
# These three values are printed in the book's section 7.3 too: 1.1269, 0.7936 and again 1.1269.
#
# ## Try it
#
# Add 1000 to all scores. What changes? What would change if `softmax` did not subtract the maximum?
