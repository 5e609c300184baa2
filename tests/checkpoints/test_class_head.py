import numpy as np
import pytest

from tinygrad_gpt.checkpoints.class_head import classes_of, to_classes, without_bias
from tinygrad_gpt.errors import CheckpointError

WEIGHT = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
NAMES = {"0": "bad", "1": "fair", "2": "good"}


@pytest.mark.parametrize(("content", "labels", "pad_id"), [
    ({}, ("LABEL_0", "LABEL_1", "LABEL_2"), None), ({"id2label": NAMES, "pad_token_id": 4}, ("bad", "fair", "good"), 4),
    ({"id2label": dict(reversed(NAMES.items())), "pad_token_id": 11}, ("bad", "fair", "good"), None),
    ({"pad_token_id": -1}, ("LABEL_0", "LABEL_1", "LABEL_2"), None),
    (to_classes(["a", "b", "c"], 7), ("a", "b", "c"), 7),
])
def test_what_a_config_says(content, labels, pad_id):
    head = classes_of(content, WEIGHT, vocab_size=11)
    assert (head.labels, head.pad_id) == (labels, pad_id)


@pytest.mark.parametrize(("content", "why"), [
    ({"problem_type": "regression"}, "problem_type is 'regression'"),
    ({"problem_type": "multi_label_classification"}, "only 'single_label_classification' is known"),
    ({"id2label": {"0": "a", "1": "b"}}, "id2label does not name 3 classes"),
    ({"id2label": ["a", "b", "c"]}, "id2label does not name"),
    ({"id2label": {**NAMES, "1": 7}}, "id2label does not name"), ({"id2label": {**NAMES, "3": "x"}}, "does not name"),
    ({"id2label": {**NAMES, "1": "bad"}}, "id2label has 2 different classes"),
])
def test_what_is_refused(content, why):
    with pytest.raises(CheckpointError, match=why):
        classes_of(content, WEIGHT, vocab_size=11)


def test_one_class_is_none():
    with pytest.raises(CheckpointError, match="id2label has 1 different classes, and needs 2 or more"):
        classes_of({}, WEIGHT[:1], vocab_size=11)


def test_the_bias_of_the_scores_goes_into_that_of_the_norm():
    bias, shift, z = np.array([0.5, -2, 1], np.float32), np.arange(6, dtype=np.float32), np.full(6, 0.25, np.float32)
    moved = without_bias(WEIGHT, bias, shift)
    assert moved.dtype == np.float32
    np.testing.assert_allclose(WEIGHT @ (z + moved), WEIGHT @ (z + shift) + bias, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(without_bias(WEIGHT, np.zeros(3, np.float32), shift), shift)


def test_a_bias_that_the_norm_cannot_take():
    with pytest.raises(CheckpointError, match="a bias that ln_f cannot take over"):
        without_bias(np.zeros((3, 6), np.float32), np.ones(3, np.float32), np.zeros(6, np.float32))
