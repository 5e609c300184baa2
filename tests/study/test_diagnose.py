"""The diagnosis of a rule: nothing is said of a right one, and nothing that does not hold on other values."""

import pytest

from tinygrad_gpt.engine import OPS
from tinygrad_gpt.study.diagnose import diagnose, holds


def samples(r):
    return [(r.normal(2, 3), r.normal(2, 3))]


def product(xp, a, b):
    y = a * b

    def grad_a(g):
        return g * b

    def grad_b(g):
        return g * a

    return y, (grad_a, grad_b)


def wrong(grad_a):
    """The product with another gradient of a, a function of g, a and b."""
    return lambda xp, a, b: (a * b, (lambda g: grad_a(g, a, b), lambda g: g * a))


@pytest.mark.parametrize("name", ["mul", "linear", "layer_norm", "attention", "cross_entropy"])
def test_of_a_right_gradient_nothing_is_said(name):
    op = OPS[name]
    assert diagnose(op.function, op.function, op.samples, broadcasts=op.broadcasts) == []


def test_a_sentence_is_tried_on_new_values():
    rule = wrong(lambda g, a, b: 2 * g * b)
    (found,) = diagnose(rule, product, samples)
    assert holds(found, rule, product, samples, 5)
    assert not holds(found, product, product, samples, 5)
