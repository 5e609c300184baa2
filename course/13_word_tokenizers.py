# %% [markdown]
# # 13. Word tokenizers
#
# The book's sections 2.2 to 2.4. A model reads numbers. The simplest way from text to numbers is a list of all words;
# this lesson builds it, breaks it, and mends it with two special tokens.

# %%
import os
import re
from pathlib import Path

from tinygrad_gpt.text import get_encoding

TEXT = ("The fox looked at the grapes. They hung high--too high, he thought; and yet, they looked ripe! "
        "\"Who wants grapes?\" said the fox, and went home.")

# %% [markdown]
# ## Split
#
# Punctuation marks become words of their own. The brackets in the pattern make `re.split` keep what it splits at;
# blanks are then dropped.


# %%
def split(text):
    pieces = re.split(r'([,.:;?_!"()\']|--|\s)', text)
    return [piece.strip() for piece in pieces if piece.strip()]


words = split(TEXT)
print(len(words), words[:10])

# prints:
#   38 ['The', 'fox', 'looked', 'at', 'the', 'grapes', '.', 'They', 'hung', 'high']

# %% [markdown]
# ## Number the words
#
# The vocabulary is the sorted list of different words; an id is a place in it. Capital letters sort before small
# ones, so `The` and `the` are two words with nothing in common.


# %%
class WordTokenizer:
    """Version 1: knows the words that it has seen, and no others."""

    def __init__(self, words):
        self.words = sorted(set(words))
        self.ids = {word: i for i, word in enumerate(self.words)}

    def encode(self, text):
        return [self.ids[word] for word in split(text)]

    def decode(self, ids):
        text = " ".join(self.words[i] for i in ids)
        return re.sub(r'\s+([,.:;?!"()\'])', r"\1", text)


first = WordTokenizer(words)
ids = first.encode("The fox went home, the grapes hung high.")
print("vocabulary:", len(first.words), "  ids:", ids)
print(first.decode(ids))

# prints:
#   vocabulary: 28   ids: [7, 12, 26, 16, 2, 21, 13, 17, 15, 4]
#   The fox went home, the grapes hung high.

# %% [markdown]
# ## Two things that it cannot do
#
# It does not give back the text: blanks around quotation marks and dashes are a guess. And it fails on every word
# that it has not seen.

# %%
print(first.decode(first.encode('They hung high--too high, he thought; "Who wants grapes?"')))
try:
    first.encode("The wolf went home.")
except KeyError as error:
    print("unknown word:", error)

# prints:
#   They hung high -- too high, he thought;" Who wants grapes?"
#   unknown word: 'wolf'

# %% [markdown]
# ## Version 2: two special tokens
#
# `<|unk|>` stands for every unknown word. `<|endoftext|>` stands between texts that have nothing to do with each
# other, so that a model can learn not to look beyond it.


# %%
class WordTokenizerWithUnknown(WordTokenizer):
    def __init__(self, words):
        super().__init__(words)
        for special in ("<|endoftext|>", "<|unk|>"):
            self.ids[special] = len(self.words)
            self.words.append(special)

    def encode(self, text):
        return [self.ids.get(word, self.ids["<|unk|>"]) for word in split(text)]


second = WordTokenizerWithUnknown(words)
ids = second.encode("The wolf went home. <|endoftext|> Who wants cheese?")
print("vocabulary:", len(second.words), "  ids:", ids)
print(second.decode(ids))

# prints:
#   vocabulary: 30   ids: [7, 29, 26, 16, 4, 28, 9, 25, 29, 6]
#   The <|unk|> went home. <|endoftext|> Who wants <|unk|>?

# %% [markdown]
# ## What GPT-2 does
#
# It has no `<|unk|>`. Byte-pair encoding takes unknown words apart, in the end into single bytes, so every text has
# ids and every text comes back exactly. Its end-of-text token has the last id. The word below is in no dictionary;
# the ids are those that the book prints in section 2.5.

# %%
bpe = get_encoding("gpt2")
ids = bpe.encode("Akwirw ier")
print(ids, [bpe.decode([i]) for i in ids])
print("gives the text back:", bpe.decode(bpe.encode(TEXT)) == TEXT)
print("end of text:", bpe.encode("<|endoftext|>", allowed_special={"<|endoftext|>"}))

# prints:
#   [33901, 86, 343, 86, 220, 959] ['Ak', 'w', 'ir', 'w', ' ', 'ier']
#   gives the text back: True
#   end of text: [50256]

# %% [markdown]
# ## With the book's text
#
# The book builds its vocabulary from "The Verdict" by Edith Wharton. Set `THE_VERDICT` to the path of that file, and
# the cell prints what the book prints:
#
# - `characters 20479   words 4690   vocabulary 1130, with the special tokens 1132`
# - `[1131, 5, 355, 1126, 628, 975, 10, 1130, 55, 988, 956, 984, 722, 988, 1131, 7]`

# %%
if path := os.environ.get("THE_VERDICT"):
    verdict = Path(path).read_text(encoding="utf-8")
    book = WordTokenizerWithUnknown(split(verdict))
    print(f"characters {len(verdict)}   words {len(split(verdict))}   "
          f"vocabulary {len(book.words) - 2}, with the special tokens {len(book.words)}")
    print(book.encode("Hello, do you like tea? <|endoftext|> In the sunlit terraces of the palace."))
else:
    print("THE_VERDICT is not set")

# prints:
#   THE_VERDICT is not set

# %% [markdown]
# ## Try it
#
# Count how many words of a newspaper article are `<|unk|>` for a vocabulary made from another one.
