"""The diagnosis of a rule: nothing is said of a right one, and nothing that does not hold on other values."""

import pytest
from rules import product, samples, wrong

from tinygrad_gpt.engine import OPS
from tinygrad_gpt.study.diagnose import diagnose, holds


@pytest.mark.parametrize("name", ["mul", "linear", "layer_norm", "attention", "cross_entropy"])
def test_of_a_right_gradient_nothing_is_said(name):
    op = OPS[name]
    assert diagnose(op.function, op.function, op.samples, broadcasts=op.broadcasts) == []


def test_a_sentence_is_tried_on_new_values():
    rule = wrong(lambda g, a, b: 2 * g * b)
    (found,) = diagnose(rule, product, samples)
    assert holds(found, rule, product, samples, 5)
    assert not holds(found, product, product, samples, 5)
