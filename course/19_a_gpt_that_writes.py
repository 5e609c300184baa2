# %% [markdown]
# # 19. A GPT, and a loop that writes
#
# The book's sections 4.5 to 4.7. The parts of lessons 16 to 18 make a block, blocks make a model, and a loop of five
# lines makes it write.

# %%
import numpy as np

import tinygrad_gpt as tg
from tinygrad_gpt import nn, no_grad, ops
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.runs.saved_model import load_model
from tinygrad_gpt.text import get_encoding

# %% [markdown]
# ## A block
#
# The norm stands before each part and not after it, so the stream itself is never normalised: a gradient runs along
# it from the loss to the embedding without a single factor.


# %%
class Attention(nn.Module):
    def __init__(self, width, n_head):
        super().__init__()
        self.qkv, self.out, self.n_head = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width), n_head

    def forward(self, x):
        return self.out(ops.self_attention(self.qkv(x), n_head=self.n_head))


class Block(nn.Module):
    def __init__(self, width, n_head, dropout):
        super().__init__()
        self.norm_1, self.attention = nn.LayerNorm(width), Attention(width, n_head)
        self.norm_2 = nn.LayerNorm(width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        x = x + self.dropout(self.attention(self.norm_1(x)))
        return x + self.dropout(self.narrow(ops.gelu(self.wide(self.norm_2(x)))))


class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        width = config.n_embd
        self.tokens, self.places = nn.Embedding(config.vocab_size, width), nn.Embedding(config.n_ctx, width)
        self.blocks = nn.ModuleList([Block(width, config.n_head, config.dropout) for _ in range(config.n_layer)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, config.vocab_size, bias=False)

    def forward(self, ids):
        x = self.tokens(ids) + self.places.weight[:ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


tg.manual_seed(123)
small = GPT(GPT2Config(vocab_size=300, n_ctx=16, n_embd=24, n_layer=2, n_head=3, dropout=0.1))
ids = np.array([[61, 36, 100, 34], [61, 11, 66, 25]])
print("ids", ids.shape, " logits", small(ids).shape)

# prints:
#   ids (2, 4)  logits (2, 4, 300)

# %% [markdown]
# ## How large is GPT-2?
#
# One block of each size is enough to count. The book's model has a head of its own and no bias for queries, keys and
# values; GPT-2 uses the embedding as head ("tied") and has the bias.

# %%
for name, width, layers, heads in [("124M", 768, 12, 12), ("medium", 1024, 24, 16),
                                   ("large", 1280, 36, 20), ("XL", 1600, 48, 25)]:
    one = GPT2(GPT2Config(vocab_size=1, n_embd=width, n_layer=1, n_head=heads, qkv_bias=False), seed=None)
    table = 50257 * width
    tied = table + one.size - width + (layers - 1) * one.h[0].size  # in place of the table of one token
    print(f"{name:7} with a head of its own {tied + table:>13,}   tied {tied:>13,}")
print(f"the first in float32: {163_009_536 * 4 / 2**20:.2f} MB")

# prints:
#   124M    with a head of its own   163,009,536   tied   124,412,160
#   medium  with a head of its own   406,212,608   tied   354,749,440
#   large   with a head of its own   838,220,800   tied   773,891,840
#   XL      with a head of its own 1,637,792,000   tied 1,557,380,800
#   the first in float32: 621.83 MB

# %% [markdown]
# ## A loop that writes
#
# Score, take the best token, append, repeat. The input is cut to the context from the left. Everything is computed
# anew for each token; lesson 29 stops that.


# %%
def write(model, ids, n_new, context):
    for _ in range(n_new):
        with no_grad():
            logits = model(ids[:, -context:])
        best = logits.numpy()[:, -1].argmax(axis=-1)
        ids = np.concatenate([ids, best[:, None]], axis=1)
    return ids


small.eval()
print("untrained:", write(small, ids, 6, context=16).tolist())

# prints:
#   untrained: [[61, 36, 100, 34, 12, 236, 31, 210, 73, 142], [61, 11, 66, 25, 151, 125, 285, 165, 173, 240]]

# %% [markdown]
# An untrained model writes noise, the same noise each time. (The book prints that of its 124M model, " Featureiman
# Byeswickattribute argue"; `tests/book/test_chapter_4.py` reproduces it, in a quarter of a minute.) The shipped
# `storyteller` is a trained model of 4.4 million parameters, and the same loop makes it write English.

# %%
saved = load_model("storyteller")
story = np.array([[saved.tokenizer.eot_id, *saved.tokenizer.encode("Once upon a time")]])
written = write(saved.model.eval(), story, 18, context=saved.model.config.n_ctx)
print(f"{saved.model.size / 1e6:.1f} million parameters:")
print(saved.tokenizer.decode(written[0, 1:].tolist()))

# prints:
#   4.4 million parameters:
#   Once upon a time, there was a little girl named Lily. She loved to play with her toys.

# %% [markdown]
# ## The price of a token
#
# The vocabularies differ: the shipped model's has 4,096 tokens, and GPT-2's 50,257. A larger one makes texts shorter
# and the embedding heavier.

# %%
text = "Every effort moves you"
print("GPT-2:", len(get_encoding("gpt2").encode(text)), "tokens   storyteller:", len(saved.tokenizer.encode(text)))

# prints:
#   GPT-2: 4 tokens   storyteller: 6

# %% [markdown]
# ## Try it
#
# Make `write` draw a token by its probability in place of the best one. Lesson 22 does it with care.
