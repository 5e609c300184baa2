"""Direct preference optimisation: the loss beside NumPy's and PyTorch's, and runs."""

import shutil
from dataclasses import replace
from math import log

import numpy as np
import pytest
import tiny
from run_folders import undrawn_pictures

from tinygrad_gpt.backend import use_backend
from tinygrad_gpt.data.instructions import collate
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.recipes.instructions import preferences, tuning
from tinygrad_gpt.recipes.instructions.preferences import (
    PreferenceConfig,
    PreferenceTask,
    dpo_loss,
    finetune_preferences,
    log_probabilities,
    resume_preferences,
)
from tinygrad_gpt.runs.saved_model import load_model, save_model


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    save_model(folder / "base.h5", tiny.language_model(n_ctx=96))
    data = tiny.instruction_file(folder / "pairs.json", chosen="Gladly: ski", rejected="No")
    return PreferenceConfig(data=str(data), base=str(folder / "base.h5"), style="phi3", epochs=3, batch_size=4,
                            lr=1e-2, eval_every=100, save_every=4, samples=1)


@pytest.fixture(autouse=True, scope="module")
def plain_pictures():
    with undrawn_pictures(tuning):
        yield


@pytest.fixture
def task(config):
    saved = load_model(config.base)
    return PreferenceTask(config, saved.model, saved.tokenizer)


def logp(*values):
    return Tensor(np.array(values, np.float64), requires_grad=True)


def test_before_training_the_loss_is_the_logarithm_of_two(task):
    loss = task.loss(np.arange(6), 0).item()
    assert loss == pytest.approx(log(2), abs=1e-6)
    assert f"{loss:.4f}" == "0.6931"  # as the notebook of the book's author prints
    scores = task.scores()
    assert scores["training_loss"] == scores["validation_loss"] == pytest.approx(log(2))
    assert scores["training_margin"] == scores["validation_margin"] == scores["training_preferred"] == 0


def test_all_pairs_are_asked_before_training(config, task, monkeypatch):
    monkeypatch.setattr(preferences, "EVALUATED", 5)
    again = PreferenceTask(config, task.model, task.tokenizer)
    assert (again.train.before < 0).all()
    np.testing.assert_allclose(again.train.before, task.train.before, rtol=1e-5)
    assert again.scores()["training_margin"] == 0


def test_the_loss_is_that_of_the_article():
    chosen, rejected = logp(-1.0, -2.0, -3.0), logp(-1.5, -1.0, -900.0)
    chosen_before, rejected_before = logp(-1.2, -2.0, -3.0), logp(-1.1, -1.5, 900.0)
    loss = dpo_loss(chosen, rejected, chosen_before, rejected_before, 0.5)
    margins = np.array([0.2 + 0.4, 0.0 - 0.5, 1800.0])
    assert loss.item() == pytest.approx(np.mean(-np.log(1 / (1 + np.exp(-0.5 * margins)))), rel=1e-12)
    assert dpo_loss(rejected, chosen, rejected_before, chosen_before, 0.5).item() == pytest.approx(
        np.mean(np.logaddexp(0, 0.5 * margins)), rel=1e-12)  # and no overflow
    loss.backward()
    expected = -0.5 / 3 * np.exp(-np.logaddexp(0, 0.5 * margins))
    np.testing.assert_allclose(chosen.grad.numpy(), expected, rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(rejected.grad.numpy(), -expected, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("mean", [True, False])
def test_loss_and_gradient_beside_pytorch(mean):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    texts, prompts = [[1, 2, 3, 4, 5], [6, 7, 8], [1, 2, 9, 10], [6, 7, 11, 12, 13, 14]], [2, 1, 2, 1]
    ids, targets = collate(texts, 299, 16, prompts)
    targets[targets == 299] = -100
    model = tiny.language_model(n_ctx=16).model
    values = log_probabilities(model, ids, targets, mean=mean)
    before = np.array([-3.0, -2.5, -3.5, -4.0], np.float32)
    loss = dpo_loss(values[:2], values[2:], Tensor(before[:2]), Tensor(before[2:]), 0.3)

    logits = torch.tensor(model(ids).numpy(), dtype=torch.float64, requires_grad=True)
    wanted = torch.tensor(targets)
    mask = wanted != -100
    each = functional.log_softmax(logits, -1).gather(2, wanted.clamp(min=0)[..., None])[..., 0] * mask
    expected = each.sum(1) / mask.sum(1) if mean else each.sum(1)
    old = torch.tensor(before.astype(np.float64))
    expected_loss = -functional.logsigmoid(0.3 * ((expected[:2] - expected[2:]) - (old[:2] - old[2:]))).mean()
    np.testing.assert_allclose(values.numpy(), expected.detach().numpy(), rtol=1e-5)
    assert loss.item() == pytest.approx(expected_loss.item(), rel=1e-6)

    # The gradient of the logits, led through the model by our own backward pass.
    expected_loss.backward()
    loss.backward()
    ours = [parameter.grad.numpy().copy() for parameter in model.parameters()]
    model.zero_grad()
    model(ids).backward(logits.grad.numpy().astype(np.float32))
    for (name, parameter), gradient in zip(model.named_parameters(), ours, strict=True):
        np.testing.assert_allclose(gradient, parameter.grad.numpy(), atol=1e-6, rtol=1e-3, err_msg=name)


def test_every_backend_gives_the_same_loss_and_gradient(config, backend):
    found = {}
    for name in (backend.name, "numpy"):
        use_backend(name)
        saved = load_model(config.base)
        task = PreferenceTask(config, saved.model, saved.tokenizer)
        task.train.before += 0.5 * np.arange(2, dtype=np.float32)
        loss = task.loss(np.arange(4), 0)
        loss.backward()
        found[name] = loss.item(), [p.grad.numpy() for p in saved.model.parameters() if p.grad is not None]
    assert found[backend.name][0] == pytest.approx(found["numpy"][0], rel=1e-6)
    for ours, other in zip(found[backend.name][1], found["numpy"][1], strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-4, atol=1e-7)


def test_only_the_response_counts(task):
    rows = np.arange(3)
    tokens = task.train.chosen
    response = task.tokenizer.encode("Gladly: ski<|end|>")
    values = task._log_probabilities(task.train, rows).numpy()
    for i in rows:
        assert tokens.tokens[i][tokens.prompts[i]:] == response
        logits = task.model(np.array([tokens.tokens[i]])).numpy()[0].astype(np.float64)
        logprobs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        start = tokens.prompts[i] - 1
        assert values[i, 0] == pytest.approx(
            logprobs[np.arange(start, start + len(response)), response].mean(), rel=1e-5)


def test_a_run_prefers_what_it_should(config, tmp_path):
    saved = finetune_preferences(config, tmp_path / "whole", report=copy_at(6, tmp_path / "whole", tmp_path / "half"))
    before, after = saved.provenance["before"], saved.provenance["after"]
    assert before["validation_loss"] == pytest.approx(log(2))
    assert after["validation_loss"] < 0.6
    assert after["validation_margin"] > 1
    assert after["validation_preferred"] == after["training_preferred"] == 1
    (tmp_path / "half" / ".lock").unlink()
    resume_preferences(tmp_path / "half", {"beta": 0.1})
    assert (tmp_path / "half" / "model.h5").read_bytes() == (tmp_path / "whole" / "model.h5").read_bytes()


def copy_at(step, folder, copy):
    def report(progress):
        if progress.step == step:
            shutil.copytree(folder, copy)

    return report


def test_the_first_step_goes_from_the_logarithm_of_two_with_lora_too(config, tmp_path):
    log_of = []
    finetune_preferences(replace(config, train="lora", epochs=1, log_probability="sum"), tmp_path,
                         report=log_of.append)
    assert log_of[0].loss == pytest.approx(log(2), abs=1e-5)
    assert log_of[-1].scores["training_loss"] < log(2)


def test_bad_settings(config):
    with pytest.raises(UsageError, match=r"beta is 0\.0, expected above 0"):
        replace(config, beta=0.0)
    with pytest.raises(UsageError, match="log_probability is 'median'; choose one of mean, sum"):
        replace(config, log_probability="median")
