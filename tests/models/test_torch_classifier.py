"""Finetuning the last block beside the book's own model in torch: the same losses, step for step."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
RANDOM = np.random.default_rng(0)
TEXTS = [RANDOM.integers(0, 50256, n).tolist() for n in RANDOM.integers(3, 20, 32)]
LABELS = RANDOM.integers(0, 2, 32)


@pytest.fixture(scope="module")
def benchmark():
    pytest.importorskip("torch", reason="compares with torch")
    spec = importlib.util.spec_from_file_location("finetune_spam", BENCHMARKS / "finetune_spam.py")
    module = importlib.util.module_from_spec(spec)
    path = list(sys.path)
    spec.loader.exec_module(module)
    module.SIZES = {"vocab_size": 50257, "n_layer": 2, "n_embd": 32, "n_head": 2, "n_ctx": 64}
    yield module
    sys.path[:] = path


def losses(runner, epochs=3):
    return [runner.step(np.arange(i, i + 8)) for _ in range(epochs) for i in range(0, 32, 8)]


def test_the_same_work_gives_the_same_losses(benchmark):
    theirs, ours = benchmark.Torch(TEXTS, LABELS, 20), benchmark.Ours(TEXTS, LABELS, 20, "engine")
    expected = losses(theirs)
    assert expected[0] != expected[-4]  # it trains
    np.testing.assert_allclose(losses(ours), expected, rtol=2e-5)  # torch decays biases and norms, too
    assert ours.right(np.arange(32)) == theirs.right(np.arange(32))


def test_what_is_left_out_changes_nothing(benchmark):
    runs = {which: losses(benchmark.Ours(TEXTS, LABELS, 20, which)) for which in ("dynamic", "pruned", "cached")}
    for which in ("pruned", "cached"):
        np.testing.assert_allclose(runs[which], runs["dynamic"], rtol=0, atol=1e-6)
