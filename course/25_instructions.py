# %% [markdown]
# # 25. Following instructions
#
# The book's chapter 7. A language model continues texts. To make it answer, show it texts in which an answer follows
# an instruction; and count only the answer.

# %%
import numpy as np

from tinygrad_gpt import Tensor, no_grad, ops
from tinygrad_gpt.data.instructions import collate
from tinygrad_gpt.data.prompt_styles import find_style
from tinygrad_gpt.optim import AdamW
from tinygrad_gpt.runs.saved_model import load_model
from tinygrad_gpt.text import get_encoding

# %% [markdown]
# ## The form (7.2)
#
# An instruction, perhaps an input, and an answer become one text with headings between. The model learns that after
# "### Response:" comes the answer. Which words the headings have matters little; that they are always the same does.

# %%
style = find_style("alpaca")
prompt = style.prompt([style.request("Name the opposite.", "hot")])
print(prompt.split("\n\n", 1)[1], end="")
print("tokens of the whole prompt:", len(get_encoding("gpt2").encode(prompt)))

# prints:
#   ### Instruction:
#   Name the opposite.
#
#   ### Input:
#   hot
#
#   ### Response:
#   tokens of the whole prompt: 41

# %% [markdown]
# ## Batches (7.3)
#
# Texts of different lengths become one array. Each gets an end-of-text token, so that the model learns to stop; then
# it is filled up. Targets are the ids moved by one. The first end-of-text counts, all further ones are −100 and do
# not.

# %%
ids, targets = collate([[0, 1, 2, 3, 4], [5, 6], [7, 8, 9]], eot_id=50256, n_ctx=1024)
print("ids\n", ids)
print("targets\n", targets)

# prints:
#   ids
#    [[    0     1     2     3     4]
#    [    5     6 50256 50256 50256]
#    [    7     8     9 50256 50256]]
#   targets
#    [[    1     2     3     4 50256]
#    [    6 50256  -100  -100  -100]
#    [    8     9 50256  -100  -100]]

# %% [markdown]
# The book uses this example; its targets are the same.
#
# ## What −100 does
#
# Three small losses. The third row is left out when its target is −100: the loss and the gradient are those of two
# rows.

# %%
logits = np.array([[-1.0, 1.0], [-0.5, 1.5], [-0.5, 1.5]])
for targets in ([0, 1], [0, 1, 1], [0, 1, -100]):
    z = Tensor(logits[:len(targets)], requires_grad=True)
    loss = ops.cross_entropy(z, np.array(targets))
    loss.backward()
    print(f"{targets!s:13} loss {loss.item():.4f}   gradient of the last row {z.grad.numpy()[-1].round(4)}")

# prints:
#   [0, 1]        loss 1.1269   gradient of the last row [ 0.0596 -0.0596]
#   [0, 1, 1]     loss 0.7936   gradient of the last row [ 0.0397 -0.0397]
#   [0, 1, -100]  loss 1.1269   gradient of the last row [0. 0.]

# %% [markdown]
# ## The prompt need not count either
#
# The model is not meant to learn to ask. Masking the prompt (the book's exercise 7.2) leaves only the answer's tokens
# in the loss. In the form above most tokens are prompt.

# %%
tokenizer = get_encoding("gpt2")
asked, answered = tokenizer.encode(prompt), tokenizer.encode("cold")
_, targets = collate([asked + answered], tokenizer.eot_id, 1024, [len(asked)])
counted = targets[0][targets[0] != -100]
print("tokens:", len(asked + answered), "  counted:", len(counted), [tokenizer.decode([i]) for i in counted.tolist()])

# prints:
#   tokens: 42   counted: 2 ['cold', '<|endoftext|>']

# %% [markdown]
# ## Train a small one (7.6)
#
# The storyteller has never seen an instruction. Here are eight, in a shorter form to save time. Only the last two
# blocks learn.

# %%
PAIRS = {"hot": "cold", "big": "small", "old": "young", "good": "bad", "day": "night", "up": "down", "rich": "poor",
         "long": "short"}
saved = load_model("storyteller")
model, words = saved.model, saved.tokenizer


def asking(word):
    return [words.eot_id, *words.encode(f"Question: what is the opposite of {word}? Answer:")]


prompts = [asking(word) for word in PAIRS]
texts = [prompt + words.encode(f" {answer}") for prompt, answer in zip(prompts, PAIRS.values(), strict=True)]
ids, targets = collate(texts, words.eot_id, model.config.n_ctx, [len(prompt) for prompt in prompts])


def answer(word, most=4):
    """The most probable continuation up to the end-of-text token."""
    ids, n = asking(word), len(asking(word))
    for _ in range(most):
        with no_grad():
            best = int(model(np.array([ids])).numpy()[0, -1].argmax())
        if best == words.eot_id:
            break
        ids.append(best)
    return words.decode(ids[n:])


print("before:", {word: answer(word) for word in ("hot", "day")})
model.freeze()
for block in model.h[-2:]:
    block.freeze(False)
optimizer = AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3, weight_decay=0.0)
for step in range(13):
    optimizer.zero_grad()
    loss = model.loss(ids, targets)
    loss.backward()
    optimizer.step()
    if step % 4 == 0:
        print(f"step {step:2}   loss {loss.item():.1f}")
print("after: ", *[f"{word} ->{answer(word)}" for word in PAIRS])

# prints:
#   before: {'hot': '\n\n"I', 'day': '\n\n"I'}
#   step  0   loss 11.1
#   step  4   loss 1.2
#   step  8   loss 0.5
#   step 12   loss 0.1
#   after:  hot -> cold big -> small old -> young good -> bad day -> night up -> down rich -> poor long -> short

# %% [markdown]
# ## Was anything learnt?
#
# The form, yes: one word, and stop. The answers to these eight, by heart. To words that were not among them?

# %%
print({word: answer(word) for word in ("cold", "new", "white")})

# prints:
#   {'cold': ' cold', 'new': ' poor', 'white': ' small'}

# %% [markdown]
# A test must ask what was not trained (7.4: the book splits its 1,100 entries in file order, 85 % for training, 10 %
# to test, the rest to validate). Scoring free answers (7.8) is harder than counting: an exact match is too strict, so
# the book lets a larger model give marks. `python cli.py finetune instructions` and `evaluate instructions` do all
# this on a file.

# %%
entries = 1100
end, last = int(entries * 0.85), int(entries * 0.85) + int(entries * 0.1)
print("training", end, "  test", last - end, "  validation", entries - last)

# prints:
#   training 935   test 110   validation 55

# %% [markdown]
# ## Try it
#
# Leave the masking of the prompt out. Does the loss start higher or lower, and why?
