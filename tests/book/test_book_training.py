"""The training runs of chapter 5 and appendix D (benchmarks/book_training.py), with a model small enough for a test."""

import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from tinygrad_gpt.book.batches import token_windows
from tinygrad_gpt.book.initial_values import initial_values
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.optim import warmup_cosine
from tinygrad_gpt.random import TorchStream

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import book_training

SIZES = {"vocab_size": 64, "n_ctx": 16, "n_embd": 32, "n_layer": 2}
TEXT = b"I HAD always thought Jack Gisburn rather a cheap genius--though a good fellow enough--so it was no great"
TOKENS = np.frombuffer(TEXT * 3, np.uint8).astype(np.int64) % 64
TRAINING, VALIDATION = token_windows(TOKENS[:290], 16), token_windows(TOKENS[290:], 16)

RUNS = [
    book_training.Run(4, lr=lambda step: 4e-3, max_norm=lambda step: math.inf, eval_batches=5, printed={}),
    book_training.Run(4, lr=lambda step: warmup_cosine(step, 36, peak=1e-2, warmup=7, initial=1e-5, minimum=1e-5),
                      max_norm=lambda step: 1.0 if step > 7 else math.inf, eval_batches=1, printed={}),
]


def losses(run):
    """What our run reports: training and validation loss after every fifth step."""
    stream = TorchStream(123)
    model = GPT2(GPT2Config(**SIZES, n_head=4, dropout=0.1, qkv_bias=False, tied_head=False), seed=None)
    model.load_state_dict(initial_values(stream, **SIZES))
    lines = list(book_training.train(model, run, stream, TRAINING, VALIDATION))
    return [[float(x) for x in re.findall(r"loss (\S+?)[, ]", line)] for line in lines if line]


def torch_losses(torch, run):
    """The same run in PyTorch: its modules, loader, dropout and optimiser, called in the book's order."""
    torch.manual_seed(123)
    model = torch_gpt(torch)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.1)
    training, validation = (list(zip(*map(torch.from_numpy, part), strict=True)) for part in (TRAINING, VALIDATION))
    loaders = [torch.utils.data.DataLoader(training, 2, shuffle=True), torch.utils.data.DataLoader(validation, 2)]

    def loss(ids, targets):
        return torch.nn.functional.cross_entropy(model(ids).flatten(0, 1), targets.flatten())

    def evaluate(loader):
        with torch.no_grad():
            found = [loss(*batch).item() for _, batch in zip(range(run.eval_batches), loader, strict=False)]
        return sum(found) / len(found)

    reported, step = [], 0
    for _ in range(run.epochs):
        for batch in loaders[0]:
            optimizer.zero_grad()
            optimizer.param_groups[0]["lr"] = run.lr(step)
            loss(*batch).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), run.max_norm(step))
            optimizer.step()
            if step % 5 == 0:
                model.eval()
                reported.append([evaluate(loader) for loader in loaders])
                model.train()
            step += 1
    return reported


def torch_gpt(torch):
    """The book's GPT in PyTorch, its layers made and its dropouts met in the book's order."""
    nn, width = torch.nn, SIZES["n_embd"]

    class TorchBlock(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(3))
            self.out = nn.Linear(width, width)
            self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"),
                                     nn.Linear(4 * width, width))
            self.ln_1, self.ln_2, self.drop = nn.LayerNorm(width), nn.LayerNorm(width), nn.Dropout(0.1)

        def forward(self, x):
            h = self.ln_1(x)
            q, k, v = (layer(h).unflatten(-1, (4, -1)).transpose(1, 2) for layer in self.qkv)
            future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
            weights = torch.softmax((q @ k.mT).masked_fill(future, -math.inf) / q.shape[-1] ** 0.5, -1)
            x = x + self.drop(self.out((self.drop(weights) @ v).transpose(1, 2).flatten(2)))
            return x + self.drop(self.mlp(self.ln_2(x)))

    class TorchGPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.wte, self.wpe = nn.Embedding(SIZES["vocab_size"], width), nn.Embedding(SIZES["n_ctx"], width)
            self.drop = nn.Dropout(0.1)
            self.blocks = nn.Sequential(*(TorchBlock() for _ in range(SIZES["n_layer"])))
            self.ln = nn.LayerNorm(width)
            self.head = nn.Linear(width, SIZES["vocab_size"], bias=False)

        def forward(self, ids):
            return self.head(self.ln(self.blocks(self.drop(self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))))))

    return TorchGPT()


@pytest.mark.parametrize("run", RUNS, ids=["chapter_5", "appendix_d"])
def test_the_loss_falls(run):
    found = losses(run)
    assert len(found) == 8
    assert found[-1][0] < 0.8 * found[0][0]


@pytest.mark.parametrize("run", RUNS, ids=["chapter_5", "appendix_d"])
def test_the_run_is_that_of_pytorch(run):
    torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")
    torch.manual_seed(123)
    if torch.nn.functional.dropout(torch.ones(6, 6), 0.5)[0].tolist() != [2, 2, 0, 2, 2, 0]:
        pytest.skip("this PyTorch draws its dropout masks from MKL")
    np.testing.assert_allclose(losses(run), torch_losses(torch, run), rtol=0, atol=1e-3)
