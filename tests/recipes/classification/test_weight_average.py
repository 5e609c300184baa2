"""The mean of the weights over the last steps."""

from dataclasses import replace

import numpy as np
import pytest
import tiny

from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.recipes.classification import finetune as recipe
from tinygrad_gpt.recipes.classification.config import FinetuneConfig
from tinygrad_gpt.recipes.classification.finetune import finetune_classifier
from tinygrad_gpt.recipes.classification.weight_average import WeightAverage
from tinygrad_gpt.runs.saved_model import save_model


def test_the_mean_of_what_was_counted_in_is_adopted():
    parameter = Tensor(np.zeros(3, np.float32), requires_grad=True)
    average = WeightAverage([parameter])
    assert average.state() == {}
    for value in (1, 2, 6):
        parameter.data[...] = value
        average.add()
    other = WeightAverage([parameter])
    other.restore(average.state())
    other.adopt()
    np.testing.assert_allclose(parameter.numpy(), [3, 3, 3])
    assert other.state() == {}


def test_a_run_ends_with_the_mean_of_its_last_epochs(tmp_path):
    save_model(tmp_path / "base.h5", tiny.language_model(n_ctx=12))
    data = tiny.labelled_file(tmp_path / "three.csv", 30)
    config = FinetuneConfig(str(data), base=str(tmp_path / "base.h5"), epochs=3, lr=1e-3, batch_size=8, dropout=0.0,
                            no_calibration=True)
    plain, weights = replace(config, schedule="constant"), []

    def keep(progress):
        if progress.step > 3:  # three steps an epoch; the last two epochs
            weights.append(run.task.model.score.weight.numpy().copy())

    begin, run = recipe.begin, None

    def begun(*args):
        nonlocal run
        run = begin(*args)
        return run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "begin", begun)
        finetune_classifier(plain, tmp_path / "plain", keep)
        averaged = finetune_classifier(replace(plain, average=2), tmp_path / "averaged")
    assert len(weights) == 6
    np.testing.assert_allclose(averaged.saved.classifier.score.weight.numpy(), np.mean(weights, axis=0), rtol=1e-4,
                               atol=1e-6)


def test_more_epochs_than_there_are_cannot_be_averaged():
    with pytest.raises(UsageError, match="average is 3; give a number of the 2 epochs"):
        FinetuneConfig("mail.csv", epochs=2, average=3)
