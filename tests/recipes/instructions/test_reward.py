"""Reinforcement learning with a checkable reward: the objective's gradient, what is drawn, and runs that learn."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tiny
from run_folders import undrawn_pictures

from tinygrad_gpt.data.instructions import IGNORED
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import DataError, UsageError
from tinygrad_gpt.recipes.instructions import tuning
from tinygrad_gpt.recipes.instructions.instruct import InstructConfig, finetune_instructions
from tinygrad_gpt.recipes.instructions.preferences import log_probabilities
from tinygrad_gpt.recipes.instructions.reward import (
    RewardConfig,
    RewardTask,
    advantages,
    finetune_reward,
    policy_loss,
    resume_reward,
)
from tinygrad_gpt.runs.saved_model import load_model, save_model


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    save_model(folder / "base.h5", tiny.language_model(n_ctx=96))
    entries = [{"instruction": f"Say {word}", "input": "", "output": "the"} for word in ("sun", "sea", "ski") * 10]
    (folder / "data.json").write_text(json.dumps(entries))
    return RewardConfig(data=str(folder / "data.json"), base=str(folder / "base.h5"), style="phi3", epochs=2,
                        batch_size=4, lr=1e-3, eval_every=100, save_every=3, samples=1, group=4, max_new_tokens=4)


@pytest.fixture(autouse=True, scope="module")
def plain_pictures():
    with undrawn_pictures(tuning):
        yield


@pytest.fixture
def task(config):
    saved = load_model(config.base)
    return RewardTask(config, saved.model, saved.tokenizer)


def test_advantages_compare_within_a_group():
    np.testing.assert_array_equal(advantages(np.array([[1.0, 0, 0, 1], [1, 1, 1, 1]])),
                                  [[0.5, -0.5, -0.5, 0.5], [0, 0, 0, 0]])


def test_the_gradient_of_the_objective_is_minus_the_advantages_over_their_number():
    values = Tensor(np.array([-1.0, -2.0, -0.5, -3.0]), requires_grad=True)
    advantage = np.array([0.5, -0.5, -0.5, 0.5])
    loss = policy_loss(values, advantage)
    assert loss.item() == pytest.approx(-(values.numpy() * advantage).mean(), abs=1e-15)
    loss.backward()
    np.testing.assert_allclose(values.grad.numpy(), -advantage / 4, rtol=0, atol=1e-15)


def test_every_gradient_of_the_objective_agrees_with_differences(task):
    model = task.model
    model.load_state_dict({name: array.astype(np.float64) for name, array in model.arrays().items()})
    for parameter in model.parameters():
        parameter.data = parameter.data.astype(np.float64)
    drawn = [completion for group in task._draw(task.train[:2], 0) for completion in group]
    ids, targets = task._batch(drawn, longest=0)
    advantage = np.linspace(-1, 1, len(drawn))

    def objective():
        return policy_loss(log_probabilities(model, ids, targets, mean=False), advantage)

    objective().backward()
    rng = np.random.default_rng(0)
    for name, parameter in model.named_parameters():
        direction = rng.standard_normal(parameter.shape)
        kept, analytic = parameter.data.copy(), float((parameter.grad.numpy() * direction).sum())
        numeric = 0.0
        for steps, weight in ((1, 8), (-1, -8), (2, -1), (-2, 1)):  # of fourth order
            parameter.data[...] = kept + steps * 1e-4 * direction
            numeric += weight * objective().item() / 12e-4
        parameter.data[...] = kept
        assert abs(analytic - numeric) <= 1e-7 * max(1, abs(numeric)), name


def test_only_what_was_drawn_counts(task):
    drawn = [completion for group in task._draw(task.train[:3], 5) for completion in group]
    _, targets = task._batch(drawn, longest=0)
    for row, completion in zip(targets, drawn, strict=True):
        assert tuple(row[row != IGNORED]) == completion.ids


def test_draws_depend_on_the_step_and_nothing_else(task):
    first, again, other = (task._draw(task.train[:2], step) for step in (1, 1, 2))
    assert first == again
    assert first != other


def test_the_rarer_of_two_answers_becomes_the_usual_one(config, tmp_path):
    said = [{"instruction": "Say it", "input": "", "output": ("ski", "ski", "sun")[i % 3]} for i in range(60)]
    (tmp_path / "said.json").write_text(json.dumps(said))
    (tmp_path / "sun.json").write_text(json.dumps([entry | {"output": "sun"} for entry in said]))
    finetune_instructions(InstructConfig(data=str(tmp_path / "said.json"), base=config.base, style="phi3", epochs=15,
                                         lr=1e-2, eval_every=100), tmp_path / "said")
    saved = finetune_reward(replace(config, base=str(tmp_path / "said"), data=str(tmp_path / "sun.json"), lr=3e-3,
                                    group=8, max_new_tokens=12), tmp_path / "run")
    assert saved.provenance["before"]["validation_right"] == 0
    assert saved.provenance["after"]["validation_right"] == 1


def test_a_stopped_run_goes_on_bit_for_bit(config, tmp_path):
    def stop(progress):
        if progress.step == 5:
            raise KeyboardInterrupt

    whole = finetune_reward(config, tmp_path / "whole").model.arrays()
    with pytest.raises(KeyboardInterrupt):
        finetune_reward(config, tmp_path / "parts", report=stop)
    parts = resume_reward(tmp_path / "parts").model.arrays()
    assert all(np.array_equal(parts[name], array) for name, array in whole.items())


def test_a_group_of_one_and_temperature_0_are_refused(config):
    with pytest.raises(UsageError, match="group is 1; a response is compared with others"):
        replace(config, group=1)
    with pytest.raises(UsageError, match="at 0 all responses are the same"):
        replace(config, temperature=0.0)


def test_prompts_without_room_for_a_response_are_refused(config, tmp_path):
    with pytest.raises(DataError, match=r"prompts too long .*lower max_new_tokens"):
        finetune_reward(replace(config, max_new_tokens=90), tmp_path / "run")
