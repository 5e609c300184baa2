"""GPT-2 124M with random weights beside the same model in torch: logits, every gradient by name, ten losses.

`pytest -s` prints the differences.
"""

import numpy as np
import pytest

from tinygrad_gpt import ops
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.optim import AdamW

LENGTH = 16
SETTINGS = {"lr": 1e-4, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}

torch_gpt2 = pytest.importorskip("torch_gpt2", reason="torch, the oracle, is not installed")


@pytest.fixture(scope="module")
def models():
    """Ours and torch's with the same random values, biases and norms included."""
    torch = torch_gpt2.torch
    config = GPT2Config(n_ctx=LENGTH)  # the 124M model, without positions that are never used
    ours, r = GPT2(config), np.random.default_rng(1)
    for p in ours.parameters():
        if p.ndim == 1:
            p.data = p.numpy() + np.float32(0.1) * r.standard_normal(p.shape, dtype=np.float32)
    with torch.device("meta"):
        theirs = torch_gpt2.GPT2(config)
    return ours, torch_gpt2.copy_weights(ours, theirs.to_empty(device="cpu"))


@pytest.fixture(scope="module")
def batch():
    ids = np.random.default_rng(2).integers(0, 50257, (1, LENGTH + 1))
    return ids[:, :-1], ids[:, 1:]


def torch_loss(model, ids, targets):
    torch = torch_gpt2.torch
    logits = model(torch.from_numpy(ids))
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(targets).flatten()), logits


def test_logits_and_every_gradient_are_torchs(models, batch):
    ours, theirs = models
    ids, targets = batch
    logits = ours(ids)
    ops.cross_entropy(logits, targets).backward()
    loss, expected_logits = torch_loss(theirs, ids, targets)
    loss.backward()
    difference = np.abs(logits.numpy() - expected_logits.detach().numpy()).max()
    print(f"worst difference of logits: {difference:.1e}")
    assert difference <= 1e-4
    expected, worst = torch_gpt2.gradients(theirs), {}
    assert expected.keys() == ours.state_dict().keys()
    for name, p in ours.named_parameters():
        worst[name] = np.abs(p.grad.numpy() - expected[name]).max() / np.abs(expected[name]).max()
    print(f"worst difference of gradients: {max(worst.values()):.1e}")
    assert {name: error for name, error in worst.items() if not error <= 1e-4} == {}
    ours.zero_grad()
    theirs.zero_grad()


def test_ten_losses_are_torchs(models, batch):
    ours, theirs = models
    optimizers = AdamW(ours.parameters(), decayed_axes=2, **SETTINGS), torch_gpt2.adamw(theirs, **SETTINGS)
    losses, expected = [], []
    for _ in range(10):
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss = ops.cross_entropy(ours(batch[0]), batch[1])
        torchs = torch_loss(theirs, *batch)[0]
        for value, optimizer, kept in zip((loss, torchs), optimizers, (losses, expected), strict=True):
            value.backward()
            optimizer.step()
            kept.append(value.item())
    difference = np.abs(np.array(losses) / np.array(expected) - 1).max()
    print(f"worst difference of losses: {difference:.1e}")
    assert losses[-1] < 0.8 * losses[0]  # it did learn
    assert difference <= 1e-5
