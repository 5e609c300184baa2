"""The listings of appendix D with a small model; its losses are those of PyTorch 2.13."""

import numpy as np
import pytest
from listings import load

SMALL = {"vocab_size": 50257, "context_length": 32, "emb_dim": 24, "n_heads": 4, "n_layers": 2, "drop_rate": 0.1,
         "qkv_bias": False}


@pytest.fixture
def appendix(listing):
    return listing("appendix_d")


@pytest.fixture
def loaders(appendix, verdict):
    return load("chapter_5", appendix.__name__.removesuffix("_appendix_d")).create_loaders(verdict[:2000], SMALL)


def test_d_1_warmup(appendix):
    torch = appendix.torch
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(2))], weight_decay=0.1)
    rates = appendix.warmup(optimizer, total_steps=9 * 15)
    expected = [0.0001 + step * (0.01 - 0.0001) / 27 for step in range(27)] + [0.01] * (9 * 15 - 27)
    np.testing.assert_allclose(rates, expected, rtol=1e-12)


def test_d_3_clipped_gradients(appendix, loaders):
    before, after = appendix.clipped_gradients(SMALL, loaders[0], max_norm=0.1)
    np.testing.assert_allclose([before.item(), after.item()], [0.0596584, 0.0083074], rtol=1e-4)


def test_d_4_train_model(appendix, loaders):
    torch = appendix.torch
    tokenizer = load("chapter_5", appendix.__name__.removesuffix("_appendix_d")).tiktoken.get_encoding("gpt2")
    torch.manual_seed(123)
    model = appendix.GPTModel(SMALL)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.005, weight_decay=0.1)
    train_losses, val_losses, tokens_seen, lrs = appendix.train_model(
        model, *loaders, optimizer, torch.device("cpu"), n_epochs=1, eval_freq=3, eval_iter=1,
        start_context="Every effort moves you", tokenizer=tokenizer, warmup_steps=2, initial_lr=1e-5, min_lr=1e-5)
    np.testing.assert_allclose(train_losses, [11.027947, 10.977219, 10.706468], atol=1e-3)
    np.testing.assert_allclose(val_losses, [10.925361, 10.792469, 10.735257], atol=1e-3)
    assert tokens_seen == [64, 256, 448]
    assert len(lrs) == 7
    assert max(lrs) == 0.005
