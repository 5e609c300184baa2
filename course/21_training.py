# %% [markdown]
# # 21. Training, and learning by heart
#
# The book's section 5.2: the loop that every training is. Then what goes wrong when there is too little text.

# %%
import numpy as np

from tinygrad_gpt import no_grad
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.optim import AdamW

# %% [markdown]
# ## A language with rules
#
# A text of made-up sentences. Their grammar can be learnt from few of them: who, does what, to whom, where.

# %%
generator = np.random.default_rng(0)
PARTS = (["the"], ["cat", "dog", "fox", "hen", "owl"], ["sees", "hears", "likes", "fears"], ["the"],
         ["mouse", "snake", "bear", "moon"], ["in", "near", "under"], ["the"], ["tree", "house", "barn"], ["."])
WORDS = sorted({word for part in PARTS for word in part})
sentences = [[WORDS.index(generator.choice(part)) for part in PARTS] for _ in range(300)]
tokens = np.array(sentences).ravel()
training, validation = tokens[:2160], tokens[2160:]
print(" ".join(WORDS[i] for i in tokens[:18]))
print("words:", len(WORDS), "  tokens:", len(training), "and", len(validation))

# prints:
#   the owl likes the bear in the tree . the cat sees the mouse in the barn .
#   words: 21   tokens: 2160 and 540

# %% [markdown]
# ## The loop
#
# Forget the old gradients, compute the loss, walk back, step. Now and then measure both losses, without a tape.


# %%
CONFIG = GPT2Config(vocab_size=len(WORDS), n_ctx=9, n_embd=24, n_layer=2, n_head=2)


def batch(tokens, size, generator):
    starts = generator.integers(0, len(tokens) - CONFIG.n_ctx - 1, size)
    windows = np.array([tokens[start:start + CONFIG.n_ctx + 1] for start in starts])
    return windows[:, :-1], windows[:, 1:]


def mean_loss(model, tokens):
    with no_grad():
        return model.loss(*batch(tokens, 60, np.random.default_rng(1))).item()


def train(training, steps, every):
    model = GPT2(CONFIG, seed=0).double()
    optimizer = AdamW(model.parameters(), lr=3e-3, weight_decay=0.1)
    generator = np.random.default_rng(2)
    for step in range(steps + 1):
        if step % every == 0:
            print(f"step {step:3}   training {mean_loss(model, training):.2f}   "
                  f"validation {mean_loss(model, validation):.2f}")
        optimizer.zero_grad()
        model.loss(*batch(training, 12, generator)).backward()
        optimizer.step()
    return model


model = train(training, steps=150, every=50)

# prints:
#   step   0   training 3.07   validation 3.06
#   step  50   training 1.24   validation 1.24
#   step 100   training 0.86   validation 0.86
#   step 150   training 0.80   validation 0.81

# %% [markdown]
# ## How good can it get?
#
# The grammar leaves choices: five animals, four verbs, four objects, three prepositions, three places. Nobody can
# predict them. The best loss is the mean of the logarithms of these counts, and the model nearly reaches it on both
# texts.

# %%
print(f"best possible {sum(np.log(len(part)) for part in PARTS) / len(PARTS):.2f}")

# prints:
#   best possible 0.73

# %% [markdown]
# ## A sample

# %%
ids = [WORDS.index("the")]
draw = np.random.default_rng(3)
for _ in range(17):
    with no_grad():
        logits = model(np.array([ids[-CONFIG.n_ctx:]])).numpy()[0, -1]
    p = np.exp(logits - logits.max())
    ids.append(int(draw.choice(len(WORDS), p=p / p.sum())))
print(" ".join(WORDS[i] for i in ids))

# prints:
#   the barn . the hen fears the moon in the barn . the fox likes the snake in

# %% [markdown]
# ## Too little text
#
# Now train on five sentences only. The training loss falls below what the grammar allows: the model knows the
# sentences by heart. The validation loss falls first and then rises. The book's run on one short story shows the
# same, and `docs/book.md` repeats it line by line.

# %%
model = train(training[:45], steps=150, every=50)

# prints:
#   step   0   training 3.05   validation 3.06
#   step  50   training 0.92   validation 1.71
#   step 100   training 0.40   validation 1.94
#   step 150   training 0.27   validation 2.18

# %% [markdown]
# Stop where the validation loss is lowest, or get more text. The second is better.
#
# ## Try it
#
# Add dropout of 0.1 or more weight decay to the second run. How low does the validation loss get?
