"""Appendix D: learning rates that rise and fall, and clipped gradients. The whole run: benchmarks/book_training.py."""

import math

import numpy as np
import pytest
from printed import assert_prints

from tinygrad_gpt import Tensor, ops
from tinygrad_gpt.book.batches import token_windows
from tinygrad_gpt.book.torch_dropout import use_torch_dropout
from tinygrad_gpt.data.pretraining import hold_out
from tinygrad_gpt.nn.utils import clip_grad_norm_
from tinygrad_gpt.optim import warmup_cosine
from tinygrad_gpt.random import TorchStream

STEPS = 9 * 15  # batches, epochs
WARMUP = int(0.2 * STEPS)


def test_d_1_warm_up():
    assert WARMUP == 27
    rates = [warmup_cosine(step, STEPS, peak=0.01, warmup=WARMUP, initial=0.0001, minimum=0.01)
             for step in range(STEPS)]
    expected = [0.0001 + step * (0.01 - 0.0001) / 27 for step in range(27)] + [0.01] * (STEPS - 27)
    np.testing.assert_allclose(rates, expected, rtol=1e-12)


def test_d_2_cosine_decay():
    rates = [warmup_cosine(step, STEPS, peak=0.01, warmup=WARMUP, initial=0.0001, minimum=0.1 * 0.0001)
             for step in range(STEPS)]
    progress = (np.arange(27, STEPS) - 27) / (STEPS - 27)
    np.testing.assert_allclose(rates[27:], 1e-5 + (0.01 - 1e-5) * 0.5 * (1 + np.cos(math.pi * progress)), rtol=1e-12)
    assert max(rates) == rates[27] == 0.01


def test_d_3_clipping_a_matrix():
    matrix = Tensor(np.zeros((2, 2), np.float32), requires_grad=True)
    matrix.grad = Tensor([[1.0, 2.0], [2.0, 4.0]])
    assert clip_grad_norm_([matrix], 1.0).item() == 5
    np.testing.assert_allclose(matrix.grad.numpy(), [[1 / 5, 2 / 5], [2 / 5, 4 / 5]], rtol=1e-6)


def test_d_3_largest_gradient(verdict, tokenizer, untrained):
    ids, targets = token_windows(np.array(tokenizer.encode(hold_out(verdict, 0.1)[0])), 256)
    loader = TorchStream(123)
    for _ in range(2 * 15):  # the epochs of sections D.1 and D.2; the last batch of the last one is used here
        batch = loader.loader_order(len(ids), shuffle=True)[-2:]
    model, stream = untrained(256)
    use_torch_dropout(model.train(), stream)
    ops.cross_entropy(model(ids[batch]), targets[batch]).backward()

    def largest():
        return max(parameter.grad.numpy().max() for parameter in model.parameters())

    assert_prints(largest(), "0.0411")
    clip_grad_norm_(model.parameters(), 1.0)
    assert_prints(largest(), "0.0185")


@pytest.mark.parametrize("step", [0, 26])
def test_d_4_warm_up_of_the_run(step):
    rate = warmup_cosine(step, STEPS, peak=0.001, warmup=WARMUP, initial=1e-5, minimum=1e-5)
    assert rate == pytest.approx(1e-5 + step * (0.001 - 1e-5) / 27, rel=1e-12)
