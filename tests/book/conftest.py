"""What several chapters use: the text, GPT-2's vocabulary, and the untrained model.

The tests in this folder quote what *Build a Large Language Model (From Scratch)* by S. Raschka (Manning 2024) and its
notebooks (github.com/rasbt/LLMs-from-scratch) print, and get it from our code. docs/book.md lists them.
"""

import functools

import pytest
from listings import load

from tinygrad_gpt.book.initial_values import initial_values
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.random import TorchStream
from tinygrad_gpt.text import Tokenizer


@pytest.fixture(scope="session")
def verdict(shared_data) -> str:
    return (shared_data / "text" / "the-verdict.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_pretrained("gpt2")


@pytest.fixture(scope="session")
def untrained():
    """A function: context length -> the book's model as `torch.manual_seed(123)` makes it, and the stream behind it."""
    def build(n_ctx: int) -> tuple[GPT2, TorchStream]:
        config = GPT2Config(n_ctx=n_ctx, dropout=0.1, qkv_bias=False, tied_head=False)
        stream = TorchStream(123)
        model = GPT2(config, seed=None)
        model.load_state_dict(initial_values(stream, vocab_size=50257, n_ctx=n_ctx, n_embd=768, n_layer=12))
        return model, stream
    return build


@pytest.fixture(params=["tinygrad_gpt", "torch"])
def listing(request):
    """A function: name of a listing -> its module, with our package and then with PyTorch behind its import lines."""
    if request.param == "torch":
        pytest.importorskip("torch", reason="the same listing with torch")
    return functools.partial(load, library=request.param)
