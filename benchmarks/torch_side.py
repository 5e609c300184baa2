"""The torch side of the benchmarks: GPT-2 with SDPA, and the book's model, with random weights like a real start's.

Nothing of the package under test is imported here, so that torch works with the memory allocator that it meets
everywhere. The number of threads is torch's own reading of OMP_NUM_THREADS.
"""

import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from torch.nn import functional as F

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))
import torch_gpt2
from torch_book import BookClassifier


def gpt2_config(n_ctx, **sizes):
    """What the model of tests/helpers/torch_gpt2.py wants to know, in GPT-2's form."""
    return SimpleNamespace(n_ctx=n_ctx, layer_norm_epsilon=1e-5, qkv_bias=True, tied_head=True, **sizes)


def gpt2(n_ctx, **sizes):
    """The model of tests/helpers/torch_gpt2.py."""
    return _random(torch_gpt2.GPT2(gpt2_config(n_ctx, **sizes)))


def book(n_ctx, n_classes, **sizes):
    """The model of torch_book.py; with ``n_classes`` = the vocabulary's size it is the book's language model."""
    return _random(BookClassifier(SimpleNamespace(n_ctx=n_ctx, **sizes), n_classes, seed=0))


def _random(model):
    """Matrices from a normal distribution with standard deviation 0.02."""
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.02)
    return model


def adamw(model, lr=1e-4):
    """AdamW of what is trained, with the decay on matrices only."""
    return torch_gpt2.adamw(model, lr=lr, weight_decay=0.01)


def cross_entropy(logits, targets):
    """Mean loss over all positions; targets are a NumPy array."""
    return F.cross_entropy(logits.flatten(0, -2), torch.from_numpy(targets).flatten())


def hidden(model, ids):
    """The residual stream behind ln_f, (B, T, C)."""
    x = model.wte(ids) + model.wpe.weight[:ids.shape[1]]
    for block in model.h:
        x = block(x)
    return model.ln_f(x)
