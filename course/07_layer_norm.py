# %% [markdown]
# # 7. Layer norm and its three terms
#
# Layer norm gives each token's vector the mean 0 and the variance 1, then scales and shifts it. Its gradient has
# three terms, and two of them are often forgotten.

# %%
import numpy as np

from tinygrad_gpt import Tensor, gradcheck, ops

generator = np.random.default_rng(2)
x, weight, bias = generator.normal(2.0, 3.0, (2, 5)), generator.normal(1.0, 0.2, 5), generator.normal(size=5)
g = generator.normal(size=(2, 5))
eps = 1e-5

centred = x - x.mean(axis=-1, keepdims=True)
rstd = 1 / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps)
x_hat = centred * rstd
y = weight * x_hat + bias
print("mean of x_hat    ", x_hat.mean(axis=-1).round(6) + 0.0)
print("variance of x_hat", x_hat.var(axis=-1).round(4))
print("as the engine:", np.allclose(ops.layer_norm(Tensor(x), Tensor(weight), Tensor(bias)).numpy(), y))

# prints:
#   mean of x_hat     [0. 0.]
#   variance of x_hat [1. 1.]
#   as the engine: True

# %% [markdown]
# ## Where the terms come from
#
# A number `x_i` reaches the result in three ways:
#
# 1. directly, through `x̂_i = (x_i − mean) · rstd`;
# 2. through the mean, which is subtracted from every number of the row;
# 3. through the variance, which scales every number of the row.
#
# With `d = g ⊙ weight` the three parts are `d`, `mean(d)` and `x̂ · mean(d ⊙ x̂)`, and all are multiplied by `rstd`.

# %%
d = g * weight
direct = d
through_mean = d.mean(axis=-1, keepdims=True)
through_variance = x_hat * (d * x_hat).mean(axis=-1, keepdims=True)
x_grad = rstd * (direct - through_mean - through_variance)

tx = Tensor(x, requires_grad=True)
ops.layer_norm(tx, Tensor(weight), Tensor(bias)).backward(g)
print("as the engine:", np.allclose(tx.grad.numpy(), x_grad, rtol=1e-10, atol=1e-12))

# prints:
#   as the engine: True

# %% [markdown]
# ## What it means
#
# Adding the same number to the whole row does not change the result, so the gradient cannot point there: it sums to
# zero. Stretching the row hardly changes the result either (only `eps` notices), so the gradient is orthogonal to
# `x̂`. The second and third term take out just these two directions.

# %%
print("sum of each row        ", abs(x_grad.sum(axis=-1).round(6)))
print("along x_hat, each row  ", abs((x_grad * x_hat).mean(axis=-1).round(4)))

# prints:
#   sum of each row         [0. 0.]
#   along x_hat, each row   [0. 0.]

# %% [markdown]
# ## Leave a term out
#
# Each of these has the right shape and a plausible size. A check with numbers says at once which one is right;
# training does not, as lesson 12 shows.

# %%
numeric = gradcheck(lambda x: (ops.layer_norm(x, Tensor(weight), Tensor(bias)) * Tensor(g)).sum(), x)
right = np.zeros_like(x)
for entry in numeric.entries:
    right[entry.index] = entry.numeric
rules = {
    "all three": x_grad,
    "rstd taken as constant": rstd * (direct - through_mean),
    "mean taken as constant": rstd * (direct - through_variance),
    "both taken as constant": rstd * direct,
    "weight forgotten": rstd * (g - g.mean(-1, keepdims=True) - x_hat * (g * x_hat).mean(-1, keepdims=True)),
}
for name, candidate in rules.items():
    off = np.abs(candidate - right).max() / np.abs(right).max()
    cosine = (candidate * right).sum() / np.linalg.norm(candidate) / np.linalg.norm(right)
    print(f"{name:23} off by {off:6.1%}   cosine {cosine:.3f}")

# prints:
#   all three               off by   0.0%   cosine 1.000
#   rstd taken as constant  off by  12.4%   cosine 0.992
#   mean taken as constant  off by  15.0%   cosine 0.973
#   both taken as constant  off by  18.8%   cosine 0.965
#   weight forgotten        off by   9.2%   cosine 0.998

# %% [markdown]
# ## Weight and bias
#
# Both are shared by all rows, so their gradients are sums over the rows (lesson 3).

# %%
w, b = Tensor(weight, requires_grad=True), Tensor(bias, requires_grad=True)
ops.layer_norm(Tensor(x), w, b).backward(g)
print("weight, as the engine:", np.allclose(w.grad.numpy(), (g * x_hat).sum(axis=0)))
print("bias, as the engine:  ", np.allclose(b.grad.numpy(), g.sum(axis=0)))

# prints:
#   weight, as the engine: True
#   bias, as the engine:   True

# %% [markdown]
# ## Try it
#
# RMS norm leaves out the mean: `y = weight · x / √(mean(x²) + eps)`. Which of the three terms does its gradient have?
