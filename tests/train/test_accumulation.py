"""Accumulated batches, and the parts of several processes, are one large batch, in every recipe."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tiny

from tinygrad_gpt.data.classification import Split
from tinygrad_gpt.models.gpt2 import seed_dropout
from tinygrad_gpt.nn import Dropout
from tinygrad_gpt.optim import AdamW
from tinygrad_gpt.parallel.group import Group
from tinygrad_gpt.recipes.classification.config import FinetuneConfig
from tinygrad_gpt.recipes.classification.inputs import Texts
from tinygrad_gpt.recipes.classification.task import ClassificationTask
from tinygrad_gpt.recipes.instructions.instruct import InstructConfig, InstructTask
from tinygrad_gpt.recipes.instructions.preferences import PreferenceConfig, PreferenceTask
from tinygrad_gpt.recipes.instructions.tuning import TuningTask
from tinygrad_gpt.train import Batch, LossScale, losses_of, relative_counts, train_step

N = 8  # training entries, one step of all of them
WORDS = ["ice", "ski", "cold", "frost", "beach", "sand", "swim", "heat", "bug", "loop"]


def in_float64(model):
    for p in model.parameters():
        p.data = p.numpy().astype(np.float64)
    return model


def entries_file(path, **more):
    """Ten entries whose responses have one to nineteen words: 8 train, 1 is left for tests, 1 validates."""
    path.write_text(json.dumps([{"instruction": f"Say {WORDS[i]}", "input": "", "output": " ".join(WORDS[:1 + i] * 2),
                                 **{key: " ".join(WORDS[i:] * n) for key, n in more.items()}} for i in range(10)]))
    return str(path)


def instructions(folder, batch_size, loss_on):
    saved = tiny.language_model(n_ctx=128)
    config = InstructConfig(data=entries_file(folder / "data.json"), style="phi3", batch_size=batch_size,
                            accumulate=N // batch_size, loss_on=loss_on)
    return TuningTask(config, saved.model, InstructTask(config, saved.model, saved.tokenizer), {})


def preferences(folder, batch_size):
    saved = tiny.language_model(n_ctx=128)
    config = PreferenceConfig(data=entries_file(folder / "data.json", chosen=1, rejected=2), style="phi3",
                              batch_size=batch_size, accumulate=N // batch_size)
    objective = PreferenceTask(config, saved.model, saved.tokenizer)
    objective.train.before = objective.train.before + np.array([0.5, -0.25])  # so that the loss has a slope
    return TuningTask(config, saved.model, objective, {})


def classification(folder, batch_size, **change):
    saved = tiny.classifier()
    tokens = [[*range(1, 2 + n)] for n in (1, 2, 9, 14, 3, 5, 2, 6)]
    labels = np.array([0, 0, 0, 0, 0, 1, 1, 2])
    config = FinetuneConfig("", batch_size=batch_size, accumulate=N // batch_size, dropout=0.0, **change)
    everything = Split(np.arange(N), np.arange(0), np.arange(0))
    return ClassificationTask(config, Texts(saved.classifier, tokens), labels, everything)


RECIPES = {
    "all tokens": lambda folder, size: instructions(folder, size, "all"),
    "responses": lambda folder, size: instructions(folder, size, "response"),
    "preferences": preferences,
    "classes": lambda folder, size: classification(folder, size, lm_weight=0.0),
    "balanced classes": lambda folder, size: classification(folder, size, lm_weight=0.0, class_weights="balanced"),
    "balanced classes and tokens": lambda folder, size: classification(folder, size, class_weights="balanced"),
    "without padding": lambda folder, size: classification(
        folder, size, class_weights="balanced", **({"padding": "none"} if size == 1 else {})),
}


def step(task, loss_scale=None):
    """Loss, norm and gradients of the first step, in float64."""
    in_float64(task.model)
    optimizer = AdamW(task.model.trainable(), lr=1e-3)
    losses = losses_of(task.batches(0), Group(), task.model)
    figures = train_step(losses, optimizer, 1e9, "here", task.model, loss_scale)
    return len(losses), figures, [p.grad.numpy().copy() for p in optimizer.parameters if p.grad is not None]


@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "scaled"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_accumulated_batches_are_one_large_batch(recipe, scaled, tmp_path):
    make = RECIPES[recipe]
    parts, figures, gradients = step(make(tmp_path, N))
    assert parts == 1
    for size in (4, 1):
        parts, found, small = step(make(tmp_path, size), LossScale() if scaled else None)
        assert parts == N // size
        assert found == pytest.approx(figures, rel=1e-12)
        for ours, whole in zip(small, gradients, strict=True):
            np.testing.assert_allclose(ours, whole, rtol=0, atol=1e-12 * max(1.0, abs(whole).max()))


def test_a_last_batch_that_is_smaller_counts_less():
    task = classification(None, 3)  # batches of 3, 3 and 2 texts
    task = ClassificationTask(replace(task.config, accumulate=3), task.inputs, task.labels, task.split)
    _, figures, gradients = step(task)
    _, expected, whole = step(classification(None, N))
    assert figures == pytest.approx(expected, rel=1e-12)
    for ours, other in zip(gradients, whole, strict=True):
        np.testing.assert_allclose(ours, other, rtol=0, atol=1e-12 * max(1.0, abs(other).max()))


def test_a_text_alone_in_a_step_has_the_weight_of_its_class():
    """N / (K · n) as scikit-learn has it: 8 / (3 · 5), 8 / (3 · 2) and 8 / 3."""
    ratios = []
    for weights in ("balanced", "none"):
        task = classification(None, 1, lm_weight=0.0, class_weights=weights, padding="none")
        task = ClassificationTask(replace(task.config, accumulate=1), task.inputs, task.labels, task.split)
        losses = {int(rows[0][0]): losses_of(task.batches(i), Group(), task.model)[0]().item()
                  for i, rows in enumerate(task.steps[:N])}
        ratios.append(np.array([losses[i] for i in range(N)]))
    np.testing.assert_allclose(ratios[0] / ratios[1], [8 / 15] * 5 + [8 / 6] * 2 + [8 / 3], rtol=1e-6)


def test_relative_counts_average_to_one_and_equal_ones_are_exact():
    assert relative_counts([7, 7, 7]) == [1.0, 1.0, 1.0]
    assert relative_counts([1, 3]) == [0.5, 1.5]
    assert relative_counts([0, 0]) == [0.0, 0.0]


class Rank(Group):
    """One of several processes, whose gradients are added in this one."""

    def __init__(self, rank, size):
        self.rank, self.size = rank, size


def gradients(task, size):
    """The loss and the mean gradient of a step in ``size`` processes, one after the other."""
    losses = []
    for rank in range(size):
        seed_dropout(task.model.train(), 3, 0)
        for compute in (own := losses_of(task.batches(0), Rank(rank, size), task.model)):
            loss = compute() * (1 / (len(own) * size))
            losses.append(loss.item())
            if loss.requires_grad:
                loss.backward()
    found = [p.grad.numpy() for p in task.model.trainable() if p.grad is not None]
    task.model.zero_grad()
    return sum(losses), found


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name != "without padding"])
def test_ranks_together_compute_the_step(recipe, tmp_path):
    task = RECIPES[recipe](tmp_path, N // 2)  # two batches in the step
    in_float64(task.model)
    for _, module in task.model.named_modules():
        if isinstance(module, Dropout):
            module.p = 0.25
    loss, whole = gradients(task, 1)
    for size in (2, 3, N + 1):  # with an uneven share, and ranks without a row
        found, parts = gradients(task, size)
        assert found == pytest.approx(loss, rel=1e-12)
        for ours, other in zip(parts, whole, strict=True):
            np.testing.assert_allclose(ours, other, rtol=0, atol=1e-12 * max(1.0, abs(other).max()))


def test_a_whole_batch_is_computed_even_if_nothing_in_it_counts():
    computed = []
    batch = Batch(2, lambda rows: (0,), lambda rows, factor: computed.append((rows, factor)))
    losses_of([batch], Group(), Dropout())[0]()
    assert computed == [(slice(0, 2), 0.0)]
    assert losses_of([batch], Rank(1, 2), Dropout())[0]().item() == 0
    assert len(computed) == 1
