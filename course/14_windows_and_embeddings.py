# %% [markdown]
# # 14. Windows, embeddings, positions
#
# The book's sections 2.5 to 2.8: from a long row of token ids to the array that the first block reads.

# %%
import numpy as np

import tinygrad_gpt as tg
from tinygrad_gpt import nn
from tinygrad_gpt.data import DataLoader, Dataset
from tinygrad_gpt.text import get_encoding

bpe = get_encoding("gpt2")
TEXT = "I HAD always thought Jack Gisburn rather a cheap genius--though a good fellow enough--so it was no "
ids = bpe.encode(TEXT)
print(len(ids), "tokens:", ids[:8])

# prints:
#   25 tokens: [40, 367, 2885, 1464, 1807, 3619, 402, 271]

# %% [markdown]
# The sentence opens Edith Wharton's "The Verdict" (1908), the book's example, so the ids are those that the book
# prints.
#
# ## What is to be predicted
#
# After each token comes one token. A text of five tokens holds four exercises, each with a longer beginning.

# %%
for i in range(1, 5):
    print(f"{bpe.decode(ids[:i])!r:25} -> {bpe.decode([ids[i]])!r}")

# prints:
#   'I'                       -> ' H'
#   'I H'                     -> 'AD'
#   'I HAD'                   -> ' always'
#   'I HAD always'            -> ' thought'

# %% [markdown]
# ## Windows
#
# A model has a longest input, so the row is cut into windows. The target of a window is the window moved by one: all
# its exercises are done at once. `stride` is the way from one window to the next. With a stride smaller than the
# window each token is used several times.


# %%
class Windows(Dataset):
    """Pairs (inputs, targets) of a row of ids."""

    def __init__(self, ids, length, stride):
        self.pairs = [(tg.tensor(ids[i:i + length]), tg.tensor(ids[i + 1:i + length + 1]))
                      for i in range(0, len(ids) - length, stride)]

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, i):
        return self.pairs[i]


for stride in (1, 2, 4):
    windows = Windows(ids, 4, stride)
    inputs, targets = windows[1]
    print(f"stride {stride}: {len(windows):2} windows; the second is {inputs.tolist()} -> {targets.tolist()}")

# prints:
#   stride 1: 21 windows; the second is [367, 2885, 1464, 1807] -> [2885, 1464, 1807, 3619]
#   stride 2: 11 windows; the second is [2885, 1464, 1807, 3619] -> [1464, 1807, 3619, 402]
#   stride 4:  6 windows; the second is [1807, 3619, 402, 271] -> [3619, 402, 271, 10899]

# %% [markdown]
# ## Batches
#
# The loader draws the order from the seed as PyTorch's does, so a run here and a run there see the same batches.

# %%
tg.manual_seed(123)
inputs, targets = next(iter(DataLoader(Windows(ids, 4, 4), batch_size=5, shuffle=False)))
print(inputs.numpy())
order = [pair[0].tolist()[0] for pair in DataLoader(Windows(ids, 4, 4), batch_size=1, shuffle=True)]
print("first ids in a shuffled order:", [first[0] for first in order])

# prints:
#   [[   40   367  2885  1464]
#    [ 1807  3619   402   271]
#    [10899  2138   257  7026]
#    [15632   438  2016   257]
#    [  922  5891  1576   438]]
#   first ids in a shuffled order: [922, 568, 1807, 40, 15632, 10899]

# %% [markdown]
# ## Token embeddings
#
# Each id picks a row of a table; the rows are learnt (lesson 6). With the seed 123 a table of six rows begins with
# 0.3374, as in section 2.7.

# %%
tg.manual_seed(123)
table = nn.Embedding(6, 3)
print(table.weight.numpy().round(4))
print("row 3:", table(tg.tensor([3])).numpy().round(4)[0])

# prints:
#   [[ 0.3374 -0.1778 -0.169 ]
#    [ 0.9178  1.581   1.301 ]
#    [ 1.2753 -0.201  -0.1606]
#    [-0.4015  0.9666 -1.1481]
#    [-1.1589  0.3255 -0.6315]
#    [-2.84   -0.7849 -1.4096]]
#   row 3: [-0.4015  0.9666 -1.1481]

# %% [markdown]
# ## Positions
#
# A row of the table is the same wherever its token stands, and attention (lesson 9) does not know an order either. So
# GPT-2 has a second table, with a row for each place, and adds the two.

# %%
tg.manual_seed(123)
tokens = nn.Embedding(bpe.n_vocab, 8)
places = nn.Embedding(4, 8)
x = tokens(inputs) + places(tg.arange(4))
print("tokens", tokens(inputs).shape, " places", places(tg.arange(4)).shape, " sum", x.shape)

# prints:
#   tokens (5, 4, 8)  places (4, 8)  sum (5, 4, 8)

# %% [markdown]
# ## Does attention need them?
#
# Without the places the last token's average over the others is the same in every order of the others.

# %%
shuffled = inputs.numpy()[:, [2, 0, 1, 3]]


def last_answer(x):
    """What the last token gets by attention without weights."""
    weights = tg.ops.softmax(x @ x.transpose(1, 2))
    return (weights @ x)[:, -1].numpy()


before, after = tokens(inputs), tokens(tg.tensor(shuffled))
same = np.allclose(last_answer(before), last_answer(after), atol=1e-5)
with_places = [last_answer(each + places(tg.arange(4))) for each in (before, after)]
print("same answer without places:", same, "  with places:", np.allclose(*with_places, atol=1e-5))

# prints:
#   same answer without places: True   with places: False

# %% [markdown]
# ## Try it
#
# How many windows has a text of 5,145 tokens with length 256 and stride 256? And with stride 128? Write the formula.
