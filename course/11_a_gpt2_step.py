# %% [markdown]
# # 11. A whole step of GPT-2, by hand
#
# All the pieces are there: embedding, layer norm, linear layers, attention, GELU, the loss. This lesson runs a GPT-2
# of one block forward and backward without the tape, from the rules alone, and compares every gradient with the
# engine's. Then three tools look at a step of a model that can write.

# %%
import numpy as np

from tinygrad_gpt.backend import default_backend
from tinygrad_gpt.engine import OPS
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.recipes.text_step import text_step
from tinygrad_gpt.runs.saved_model import load_model
from tinygrad_gpt.study.explain import explain, numeric_derivative
from tinygrad_gpt.study.ledger import LIMITS, balances, directions, findings, tangents

config = GPT2Config(vocab_size=20, n_ctx=8, n_embd=12, n_layer=1, n_head=2)
model = GPT2(config, seed=0)
for parameter in model.parameters():
    parameter.data = parameter.data.astype(np.float64)
P = {name: parameter.numpy() for name, parameter in model.named_parameters()}
ids = np.array([[3, 1, 4, 1, 5, 9]])
targets = np.array([[1, 4, 1, 5, 9, 2]])
print("parameters:", model.size, "in", len(P), "arrays")

# prints:
#   parameters: 2244 in 16 arrays

# %% [markdown]
# ## Forward
#
# Each rule is called with arrays and returns its result and its pullbacks. They are the functions of the page
# `docs/gradients.md`. The residual stream `x` is added to twice.

# %%
xp = default_backend().namespace


def rule(name, *arrays, **settings):
    return OPS[name].function(xp, *arrays, **settings)


def layer_norm(name, x):
    return rule("layer_norm", x, P[f"{name}.weight"], P[f"{name}.bias"])


def linear(name, x):
    return rule("linear", x, P[f"{name}.weight"], P[f"{name}.bias"])


x0, (to_wte, _) = rule("embedding", P["wte.weight"], ids)
x0 = x0 + P["wpe.weight"][:6]
n1, back_ln_1 = layer_norm("h.0.ln_1", x0)
qkv, back_c_attn = linear("h.0.attn.c_attn", n1)
heads, back_heads = rule("self_attention", qkv, n_head=2)
attended, back_c_proj = linear("h.0.attn.c_proj", heads)
x1 = x0 + attended
n2, back_ln_2 = layer_norm("h.0.ln_2", x1)
wide, back_fc = linear("h.0.mlp.c_fc", n2)
bent, (back_gelu,) = rule("gelu", wide)
narrow, back_mlp = linear("h.0.mlp.c_proj", bent)
x2 = x1 + narrow
n3, back_ln_f = layer_norm("ln_f", x2)
loss, back_loss = rule("linear_cross_entropy", n3, P["wte.weight"], targets)
print(f"loss {loss:.6f}   ln 20 = {np.log(20):.6f}")

# prints:
#   loss 3.053126   ln 20 = 2.995732

# %% [markdown]
# An untrained model gives all 20 tokens nearly the same probability, so its loss is near the logarithm of 20.
#
# ## Backward
#
# The same lines from the last to the first. Two places need care. Where the stream was added to, its gradient goes
# both ways and comes together again with `+`. And `wte` is used twice, in the embedding and in the head, so it gets
# two parts.

# %%
grads = {}


def back_through(name, pullbacks, g):
    """Keep the gradients of weight and bias; return that of the input."""
    to_x, to_weight, to_bias = pullbacks
    grads[f"{name}.weight"], grads[f"{name}.bias"] = to_weight(g), to_bias(g)
    return to_x(g)


g_n3, head_part, _ = back_loss(np.array(1.0))
g_x2 = back_through("ln_f", back_ln_f, g_n3)
g_bent = back_through("h.0.mlp.c_proj", back_mlp, g_x2)  # x2 = x1 + narrow
g_n2 = back_through("h.0.mlp.c_fc", back_fc, back_gelu(g_bent))
g_x1 = g_x2 + back_through("h.0.ln_2", back_ln_2, g_n2)
g_heads = back_through("h.0.attn.c_proj", back_c_proj, g_x1)  # x1 = x0 + attended
g_n1 = back_through("h.0.attn.c_attn", back_c_attn, back_heads(g_heads)[0])
g_x0 = g_x1 + back_through("h.0.ln_1", back_ln_1, g_n1)
grads["wte.weight"] = to_wte(g_x0) + head_part
grads["wpe.weight"] = np.zeros_like(P["wpe.weight"])
grads["wpe.weight"][:6] = g_x0[0]

model.loss(ids, targets).backward()
worst = max(np.abs(grads[name] - p.grad.numpy()).max() for name, p in model.named_parameters())
print("gradients by hand:", len(grads), "  all within 1e-12 of the engine's:", worst < 1e-12)

# prints:
#   gradients by hand: 16   all within 1e-12 of the engine's: True

# %% [markdown]
# ## The ledger: is every op of a step right?
#
# Now the `storyteller` that ships, with its 4.4 million parameters. Move all parameters along a random direction: at
# every op whose rule is right, what flows into the result must come out at the arguments. Two forward passes and one
# backward pass check all ops of the step.

# %%
step = text_step(load_model("storyteller"), "Once upon a time")
trace = step.trace("float64")
print(f"parameters: {step.model.size / 1e6:.1f} million")
moved = tangents(trace, directions(step.parameters))
print("ops with a gradient:", len(balances(trace, moved)))
print("wrong ones:", findings(trace, moved, LIMITS["float64"]))

# prints:
#   parameters: 4.4 million
#   ops with a gradient: 85
#   wrong ones: []

# %% [markdown]
# ## Explain: why is one number what it is?
#
# The same products are shares. Along every cut through the graph the flows add up to the whole derivative, so one can
# see how much of the gradient of a weight went by the residual stream and how much through each block after it.

# %%
name, index = "h.1.attn.c_proj.weight", (5, 7)
parameter = dict(step.parameters)[name]
why = explain(trace, name, index, numeric=numeric_derivative(step.compute, parameter, index))
print(f"gradient of {name}{list(index)}: {why.analytic:+.6f}   by differences {why.numeric:+.6f}")
for op in why.ops:
    if op.op in ("self_attention", "bias_gelu", "linear_cross_entropy"):
        print(f"  {op.module:14} {op.op:20} {why.share(op.amount):7.1%}")

# prints:
#   gradient of h.1.attn.c_proj.weight[5, 7]: +0.000707   by differences +0.000707
#     h.1.mlp        bias_gelu              -7.9%
#     h.2.attn       self_attention         17.4%
#     h.2.mlp        bias_gelu              -3.7%
#     h.3.attn       self_attention         -1.8%
#     h.3.mlp        bias_gelu              -2.1%
#     h.4.attn       self_attention         15.3%
#     h.4.mlp        bias_gelu              22.5%
#     h.5.attn       self_attention         14.8%
#     h.5.mlp        bias_gelu              -0.6%
#     h.6.attn       self_attention        -12.9%
#     h.6.mlp        bias_gelu              56.4%
#     h.7.attn       self_attention          8.9%
#     h.7.mlp        bias_gelu              16.1%
#     GPT2           linear_cross_entropy  100.0%

# %% [markdown]
# On the command line these are `tape --text`, `gradcheck --text` and `explain`; `docs/seeing.md` shows more.
#
# ## Try it
#
# Break one line of the backward pass above: forget `g_x2 +`. Which gradients are wrong, and which are still right?
