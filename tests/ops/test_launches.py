"""How much a GPU is given to do: launches, allocations and waits of a step and of a token, on the backend "counted"."""

import counted
import numpy as np
import pytest
import strict

from tinygrad_gpt.backend import use_backend
from tinygrad_gpt.backend.precision import precision
from tinygrad_gpt.engine import no_grad
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.optim import AdamW
from tinygrad_gpt.train.step import train_step

CONFIG = GPT2Config(vocab_size=64, n_ctx=16, n_embd=32, n_layer=12, n_head=4)  # 12 blocks, as of GPT-2 124M


@pytest.fixture(autouse=True)
def on_counted():
    yield use_backend("counted")
    use_backend("numpy")


def report(what, name, work, limit):
    print(f"{what} in {name}: {work.launches} launches, {work.allocations} allocations, {work.waits} waits")
    assert work.launches <= limit[0]
    assert work.allocations <= limit[1]


@pytest.mark.parametrize(("name", "limit"), [("float32", (260, 60)), ("bfloat16", (300, 60))])
def test_a_training_step(name, limit):
    """Of GPT-2 124M's 12 blocks, with AdamW and without clipping."""
    model, ids = GPT2(CONFIG), counted.arrays.xp.asarray(np.arange(32).reshape(2, 16))
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


@pytest.mark.parametrize(("name", "limit"), [("float32", (90, 20)), ("bfloat16", (90, 20))])
def test_a_decoded_token(name, limit):
    model, ids = GPT2(CONFIG), counted.arrays.xp.asarray(np.arange(8).reshape(1, 8))
    with no_grad(), precision(name):
        cache = model.new_cache(1, 16)
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
