"""How much a GPU is given to do: launches, allocations and waits of a step and of a token, on the backend "counted"."""

from dataclasses import replace

import counted
import numpy as np
import pytest
import strict

from tinygrad_gpt.backend import use_backend
from tinygrad_gpt.backend.precision import precision
from tinygrad_gpt.engine import no_grad
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config, seed_dropout
from tinygrad_gpt.optim import AdamW
from tinygrad_gpt.train.step import train_step

CONFIG = GPT2Config(vocab_size=64, n_ctx=256, n_embd=32, n_layer=12, n_head=4)  # 12 blocks, as of GPT-2 124M


@pytest.fixture(autouse=True)
def on_counted():
    yield use_backend("counted")
    use_backend("numpy")


def report(what, name, work, limit):
    print(f"{what} in {name}: {work.launches} launches, {work.allocations} allocations, {work.waits} waits")
    assert work.launches <= limit[0]
    assert work.allocations <= limit[1]


@pytest.mark.parametrize(("name", "limit", "dropout"), [
    ("float32", (260, 60), 0.0), ("bfloat16", (300, 60), 0.0), ("bfloat16", (300, 60), 0.1)])
def test_a_training_step(name, limit, dropout):
    """Of GPT-2 124M's 12 blocks, with AdamW and without clipping."""
    model = GPT2(replace(CONFIG, dropout=dropout))
    seed_dropout(model, 0, 0)
    ids = counted.arrays.xp.asarray(np.arange(32).reshape(2, 16))
    optimizer = AdamW(model.parameters())

    def step():
        optimizer.zero_grad()
        model.loss(ids, ids).backward()
        optimizer.step()

    with precision(name):
        step()  # what is made once
        report("a step", name, counted.work(step), limit)
        work = counted.work(lambda: train_step([lambda: model.loss(ids, ids)], optimizer, 1.0, "step 1", model))
    assert work.waits == 1  # for loss and norm


@pytest.mark.parametrize(("name", "limit"), [("float32", (90, 40)), ("bfloat16", (90, 40))])
@pytest.mark.parametrize("length", [8, 200])  # keys for one block of threads, and for several
def test_a_decoded_token(name, limit, length):
    model, ids = GPT2(CONFIG), counted.arrays.xp.asarray(np.arange(length).reshape(1, length) % 64)
    with no_grad(), precision(name):
        cache = model.new_cache(1)
        model.next_logits(ids, cache)
        model.next_logits(ids[:, :1], cache)
        report("a token", name, counted.work(lambda: model.next_logits(ids[:, :1], cache)), limit)


def test_views_are_no_launches():
    x = strict.xp.asarray(np.zeros((2, 3), np.float32))
    before = strict.launches, strict.allocations
    y = x.T.reshape(3, 2)[1:].astype(np.float32, copy=False)
    assert y.base is x
    assert (strict.launches, strict.allocations) == before
    x += 1.0
    x[0] = 2.0
    strict.xp.empty(3)
    assert strict.launches == before[0] + 2
    assert strict.allocations == before[1] + 1
    assert (x + x).base is None
    assert strict.launches == before[0] + 3
