# %% [markdown]
# # 31. Mixed precision
#
# Numbers of 16 bits take half the memory, and GPUs multiply them many times faster. They are also easy to break. This
# lesson breaks them in three ways and shows the remedy for each.

# %%
import numpy as np

from tinygrad_gpt.backend.precision import precision
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config

# %% [markdown]
# ## Three formats
#
# A float has bits for its size and bits for its digits. float16 spends 5 and 10, bfloat16 8 and 7, float32 8 and 23.
# bfloat16 is float32 with the lower half cut off: the same range, two to three digits.


# %%
def bfloat16(x):
    """float32 values rounded to bfloat16, kept as float32."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


half = np.finfo(np.float16)
print(f"float16: largest {half.max:.0f}, smallest {half.smallest_subnormal:.1e}, next after 1 {1 + half.eps:.5f}")
print(f"float32: next after 1 {1 + np.finfo(np.float32).eps:.7f}")
print("pi in float16", np.float16(np.pi), " in bfloat16", bfloat16(np.pi))
print("1e-8 in float16", np.float16(1e-8), f" in bfloat16 {bfloat16(1e-8):.1e}")

# prints:
#   float16: largest 65504, smallest 6.0e-08, next after 1 1.00098
#   float32: next after 1 1.0000001
#   pi in float16 3.14  in bfloat16 3.140625
#   1e-8 in float16 0.0  in bfloat16 1.0e-08

# %% [markdown]
# ## First break: small gradients vanish
#
# Gradients of a large model are often below 6e-8, the smallest float16, and become 0. Remedy: multiply the loss by a
# large number, the loss scale. By the chain rule every gradient is then that much larger. Divide before the step. A
# power of 2 costs no digit.

# %%
grads = np.array([3e-9, 2e-8, 5e-7, 1e-3])
scale = 2.0**12
print("as they are:", grads.astype(np.float16))
print("scaled:     ", (grads * scale).astype(np.float16).astype(np.float32) / np.float32(scale))

# prints:
#   as they are: [0.e+00 0.e+00 5.e-07 1.e-03]
#   scaled:      [2.9976945e-09 1.9994332e-08 5.0012022e-07 1.0004044e-03]

# %% [markdown]
# Too large a scale makes infinities. So the scale is tried: halved when a gradient is not finite, doubled after many
# good steps.
#
# ## Second break: small steps are lost
#
# A weight near 1 changes by 0.0001. The next float16 below 1 is 0.0005 away, so nothing happens, a thousand times.
# Remedy: the weights stay in float32 ("master weights"), and only copies for the products are halved.

# %%
w16, w32 = np.float16(1), np.float32(1)
for _ in range(1000):
    w16, w32 = np.float16(w16 - np.float16(0.0001)), np.float32(w32 - np.float32(0.0001))
print("after 1000 steps: float16", w16, f" float32 {w32:.4f}")
print(f"distance of the next float16 below 1: {1 - np.nextafter(np.float16(1), np.float16(0)):.4f}")

# prints:
#   after 1000 steps: float16 1.0  float32 0.9000
#   distance of the next float16 below 1: 0.0005

# %% [markdown]
# ## Third break: long sums stop
#
# Ten thousand ones, added one by one in float16, are 2,048: there the next number is two away. Remedy: sums, and all
# that is made of sums (norms, softmax, losses, matrix products inside), are computed in float32.

# %%
total = np.float16(0)
for _ in range(10_000):
    total = np.float16(total + np.float16(1))
print(f"sum in float16 {float(total):,.0f}   in float32 {np.ones(10_000, np.float16).sum(dtype=np.float32):,.0f}")

# prints:
#   sum in float16 2,048   in float32 10,000

# %% [markdown]
# ## A model with all three remedies
#
# Inside `precision("float16")` layers multiply in float16; weights, the residual stream, norms and the loss stay in
# float32. The gradients are those of float32 to within 1 %, unless the loss scale is far too small.

# %%
model = GPT2(GPT2Config(vocab_size=60, n_ctx=16, n_embd=32, n_layer=2, n_head=2), seed=0)
ids = np.random.default_rng(0).integers(0, 60, (4, 17))


def gradients(scale=1.0):
    model.zero_grad()
    (model.loss(ids[:, :-1], ids[:, 1:]) * scale).backward()
    return {name: p.grad.numpy() / scale for name, p in model.named_parameters()}


exact = gradients()
with precision("float16"):
    kinds = {name: str(g.dtype) for name, g in gradients().items()}
    results = {scale: gradients(scale) for scale in (2.0**-12, 1.0, 2.0**12)}
print("gradients arrive in", sorted(set(kinds.values())))
for scale, found in results.items():
    good = sum(np.abs(found[name] - g).max() < 0.01 * np.abs(g).max() for name, g in exact.items())
    print(f"loss scale 2^{int(np.log2(scale)):3}: {good} of {len(exact)} gradients within 1 % of their largest entry")

# prints:
#   gradients arrive in ['float32']
#   loss scale 2^-12: 0 of 28 gradients within 1 % of their largest entry
#   loss scale 2^  0: 28 of 28 gradients within 1 % of their largest entry
#   loss scale 2^ 12: 28 of 28 gradients within 1 % of their largest entry

# %% [markdown]
# ## Which one?
#
# bfloat16 needs no loss scale, because its range is that of float32. It has fewer digits, which training forgives.
# Old GPUs have only float16. On a CPU neither is faster than float32: use it to learn, not to gain time.
#
# ## Try it
#
# How large may the loss scale be before a gradient of this model becomes infinite?
