"""Temperature scaling."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tiny

from tinygrad_gpt.data.classification import read_labelled
from tinygrad_gpt.recipes.classification.calibration import (
    best_temperature,
    calibrate,
    divide_scores,
    judged_before,
    tempered,
)
from tinygrad_gpt.recipes.classification.classify import classify
from tinygrad_gpt.recipes.classification.config import FinetuneConfig
from tinygrad_gpt.recipes.classification.evaluate import evaluate
from tinygrad_gpt.recipes.classification.finetune import finetune_classifier
from tinygrad_gpt.recipes.classification.inputs import Texts
from tinygrad_gpt.runs.saved_model import load_model, save_model


def drawn(count=4000, n_classes=3):
    """Probabilities, and labels drawn from them."""
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(n_classes), count)
    labels = (generator.random((count, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    return probabilities, labels


@pytest.mark.parametrize("wrong", [0.3, 1.0, 4.0])
def test_the_temperature_that_was_applied_is_found(wrong):
    probabilities, labels = drawn()
    too_sure = tempered(probabilities, wrong)
    assert best_temperature(too_sure, labels) == pytest.approx(1 / wrong, rel=0.1)
    mended = tempered(too_sure, best_temperature(too_sure, labels))
    assert judged_before(mended, labels, 1.0) < 0.03


def test_a_temperature_changes_no_answer():
    probabilities, _ = drawn(50)
    np.testing.assert_array_equal(tempered(probabilities, 3.0).argmax(axis=1), probabilities.argmax(axis=1))
    np.testing.assert_allclose(tempered(tempered(probabilities, 3.0), 1 / 3), probabilities, rtol=1e-9)


def test_a_few_right_answers_make_no_answer_certain():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.95, 0.05], [0.3, 0.7]])
    mended = tempered(probabilities, best_temperature(probabilities, np.array([0, 1, 0, 1])))
    assert 0.6 < mended.max(axis=1).mean() < 0.9  # (4 + 1) / (4 + 2) = 0.83


def test_a_few_validation_texts_change_nothing():
    model = tiny.classifier().classifier
    inputs, labels = Texts(model, [[1, 2, 3]] * 40), np.zeros(40, np.int64)
    before = model.score.weight.numpy().copy()
    assert calibrate(inputs, labels, np.arange(29)) == 1
    np.testing.assert_array_equal(model.score.weight.numpy(), before)
    assert calibrate(inputs, labels, np.arange(30)) != 1
    assert (model.score.weight.numpy() != before).all()


def test_the_scores_of_the_head_are_divided():
    model = tiny.classifier().classifier
    ids, lengths = np.array([[1, 2, 3]]), np.array([3])
    before = model(ids, lengths).numpy()
    divide_scores(model, 2.5)
    np.testing.assert_allclose(model(ids, lengths).numpy(), before / 2.5, rtol=1e-6)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    save_model(folder / "base.h5", tiny.language_model(n_ctx=12))
    data = tiny.labelled_file(folder / "three.csv", 300)  # of which 30 validate
    return FinetuneConfig(str(data), base=str(folder / "base.h5"), epochs=3, lr=1e-2, batch_size=8, float16=True,
                          unsure_below=0.9)


def test_the_saved_model_is_calibrated_and_the_report_says_what_that_did(config, tmp_path):
    plain = finetune_classifier(replace(config, no_calibration=True), tmp_path / "plain")
    mended = finetune_classifier(config, tmp_path / "mended")
    figures = json.loads((tmp_path / "mended" / "report.json").read_text())["calibration"]
    temperature = figures["temperature"]
    assert temperature != 1
    assert plain.calibration.temperature == 1
    assert mended.test.accuracy == plain.test.accuracy
    assert mended.validation.log_loss != plain.validation.log_loss
    assert figures["test_before"] == pytest.approx(plain.test.calibration_error, abs=2e-3)
    assert figures["validation_after"] == mended.validation.calibration_error
    texts = [text for text, _ in tiny.texts(20)]
    assert load_model(tmp_path / "mended").unsure_below == mended.saved.unsure_below == 0.9
    answers = [[list(answer.probabilities.values()) for answer in classify(load_model(tmp_path / name), texts)]
               for name in ("plain", "mended")]
    np.testing.assert_allclose(answers[1], tempered(np.array(answers[0]), temperature), atol=2e-3)
    again = evaluate(load_model(tmp_path / "mended"), read_labelled(config.data), "test").report
    assert again.log_loss == pytest.approx(mended.test.log_loss, rel=1e-4)
