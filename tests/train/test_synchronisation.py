"""A training step on a device waits for it once, to read the loss and the norm of the gradient."""

import numpy as np
import pytest
import strict

from tinygrad_gpt.backend import on_backend
from tinygrad_gpt.backend.precision import POLICIES, precision
from tinygrad_gpt.models.classifier import GPT2Classifier
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config, seed_dropout
from tinygrad_gpt.models.lora import apply_lora
from tinygrad_gpt.ops import cross_entropy
from tinygrad_gpt.optim import AdamW
from tinygrad_gpt.train import LossScale, train_step

SIZES = GPT2Config(vocab_size=17, n_ctx=8, n_embd=8, n_layer=2, n_head=2, dropout=0.1)


@pytest.fixture(autouse=True)
def device():
    with on_backend("strict") as backend:
        yield backend


def models(device):
    """Name -> model, and its loss."""
    ids = device.from_numpy(np.random.default_rng(0).integers(0, 17, (4, 8)))
    lengths, labels = device.from_numpy(np.array([8, 3, 5, 8])), device.from_numpy(np.array([0, 2, 1, 1]))
    gpt2, adapted, classifier = GPT2(SIZES), GPT2(SIZES), GPT2Classifier(GPT2(SIZES), 3)
    recomputing = GPT2(SIZES)
    recomputing.recompute = True
    apply_lora(adapted, 2, 4.0)
    return {"GPT2": (gpt2, lambda: gpt2.loss(ids, ids)), "LoRA": (adapted, lambda: adapted.loss(ids, ids)),
            "recompute": (recomputing, lambda: recomputing.loss(ids, ids)),
            "classifier": (classifier, lambda: cross_entropy(classifier(ids, lengths), labels))}


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", ["GPT2", "LoRA", "recompute", "classifier"])
def test_a_step_waits_once(name, policy, accumulate, device):
    model, loss = models(device)[name]
    optimizer = AdamW(model.trainable(), lr=0.01)
    scale = LossScale() if policy == "float16" else None
    for step in range(2):
        seed_dropout(model.train(), 0, step)
        before, copies = strict.synchronisations, strict.copies
        with precision(policy), strict.pure_float32():
            value, norm = train_step([loss] * accumulate, optimizer, 0.01, "here", model, scale)
        assert strict.synchronisations == before + 1
        assert strict.copies == copies  # no product above two axes by cupy.matmul, which copies transposed factors
        assert np.isfinite(value)
        assert norm > 0.01  # gradients were clipped
    assert optimizer.steps == 2
