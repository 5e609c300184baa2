"""The steps of sampling beside the logits processors of Hugging Face's transformers."""

import warnings

import numpy as np
import pytest

from tinygrad_gpt.generate import sampling

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    process = pytest.importorskip("transformers.generation.logits_process",
                                  reason="transformers, the oracle, is not installed: pip install -e '.[oracle]'")
    import torch


@pytest.fixture(params=[(0, 5), (1, 100), (2, 5000), (3, 50257)], ids=str)
def logits(request):
    seed, size = request.param
    return np.random.default_rng(seed).normal(0, 3, size)


def theirs(processor, logits, seen=(0,)):
    return processor(torch.tensor([list(seen)]), torch.from_numpy(logits)[None].clone())[0].numpy()


def assert_same(ours, expected):
    assert np.array_equal(np.isneginf(ours), np.isneginf(expected))
    kept = ~np.isneginf(ours)
    np.testing.assert_allclose(ours[kept], expected[kept], rtol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 50, 10**6])
def test_top_k(logits, k):
    assert_same(sampling.top_k(logits, k), theirs(process.TopKLogitsWarper(k), logits))


@pytest.mark.parametrize("p", [0.01, 0.3, 0.9, 0.99])
def test_top_p(logits, p):
    assert_same(sampling.top_p(logits, p), theirs(process.TopPLogitsWarper(p), logits))


@pytest.mark.parametrize("p", [0.0, 0.02, 0.5, 1.0])
def test_min_p(logits, p):
    assert_same(sampling.min_p(logits, p), theirs(process.MinPLogitsWarper(p), logits))


@pytest.mark.parametrize("temperature", [0.1, 0.8, 1.0, 2.5])
def test_temperature(logits, temperature):
    """Ours are shifted, so that the largest is 0."""
    expected = theirs(process.TemperatureLogitsWarper(temperature), logits)
    np.testing.assert_allclose(sampling.scale(logits, temperature), expected - expected.max(), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("penalty", [0.5, 1.2, 3.0])
def test_repetition_penalty(logits, penalty):
    seen = [4, 0, 2, 4, 4]
    assert_same(sampling.repetition_penalty(logits, set(seen), penalty),
                theirs(process.RepetitionPenaltyLogitsProcessor(penalty), logits, seen))


def test_one_after_the_other_in_the_order_of_transformers(logits):
    ours = sampling.scale(sampling.repetition_penalty(logits, {1, 3}, 1.3), 0.7)
    ours = sampling.min_p(sampling.top_p(sampling.top_k(ours, 40), 0.95), 0.02)
    expected = logits
    for processor in (process.RepetitionPenaltyLogitsProcessor(1.3), process.TemperatureLogitsWarper(0.7),
                      process.TopKLogitsWarper(40), process.TopPLogitsWarper(0.95), process.MinPLogitsWarper(0.02)):
        expected = theirs(processor, expected, [1, 3])
    np.testing.assert_allclose(sampling.softmax(ours), sampling.softmax(expected), rtol=1e-11)
