"""A wrong shape is said first, and what was summed that should not be."""

import numpy as np
import pytest
from rules import product, wrong

from tinygrad_gpt.study.claims import CLAIMS
from tinygrad_gpt.study.diagnose import diagnose
from tinygrad_gpt.study.shapes import axes_of, named_axes, orders


def linear(xp, x, weight, bias):
    return x @ weight + bias, (lambda g: g @ weight.T, lambda g: x.T @ g, lambda g: g.sum(axis=0))


def with_bias(grad_bias):
    def rule(xp, x, weight, bias):
        y, (grad_x, grad_weight, _) = linear(xp, x, weight, bias)
        return y, (grad_x, grad_weight, lambda g: grad_bias(g, x))

    return rule


@pytest.mark.parametrize(("grad_a", "kind", "text"), [
    (lambda g, a, b: (g * b).sum(), "shape",
     "its shape is (), not that of the argument, (2, 2): where g is (2, 2), it is summed over axes 0, 1, which it "
     "should keep"),
    (lambda g, a, b: (g * b).sum(axis=0), "shape",
     "its shape is (2,), not that of the argument, (2, 2): where g is (2, 2), it is summed over axis 0, which it "
     "should keep"),
    (lambda g, a, b: (g * b).sum(axis=0, keepdims=True), "shape",
     "its shape is (1, 2), not that of the argument, (2, 2): where g is (2, 2), it is summed over axis 0, which it "
     "should keep"),
    (lambda g, a, b: (g * b * b)[None], "other_shape", "its shape is (1, 2, 2), not that of the argument, (2, 2)"),
    (lambda g, a, b: np.zeros(3), "other_shape", "its shape is (3,), not that of the argument, (2, 2)"),
])
def test_what_is_summed_too_far_is_not_said_to_lack_a_sum(grad_a, kind, text):
    (found,) = diagnose(wrong(grad_a), product, lambda r: [(r.normal(2, 2), r.normal(2, 2))])
    assert (found.kind, found.text) == (kind, text)


@pytest.mark.parametrize(("grad_bias", "text"), [
    (lambda g, x: g.sum(), "its shape is (), not that of the argument, (4,): where g is (2, 4), it is summed over "
                           "axis 0, which it should keep"),
    (lambda g, x: g.sum(axis=-1), "its shape is (2,), not that of the argument, (4,): g, of shape (2, 4), is summed "
                                  "over axis 1, not axis 0"),
    (lambda g, x: g, "its shape is (2, 4), not that of the argument, (4,): the sum over axis 0 is forgotten"),
    (lambda g, x: np.delete(g.sum(axis=0), 0), "its shape is (3,), not that of the argument, (4,)"),
])
def test_the_bias_is_summed_over_the_rows_only(grad_bias, text):
    (found,) = diagnose(with_bias(grad_bias), linear, lambda r: [(r.normal(2, 3), r.normal(3, 4), r.normal(4))])
    assert (found.argument, found.text) == ("bias", text)


def test_a_shape_that_depends_on_the_values_is_a_wrong_shape():
    (found,) = diagnose(wrong(lambda g, a, b: g[: 1 if a[0, 0] > 0 else 2, :1]), product,
                        lambda r: [(r.normal(2, 2), r.normal(2, 2))])
    assert found.kind == "other_shape"


def test_shapes_are_claimed_before_values():
    assert list(CLAIMS)[:4] == ["raises", "in_place", "shape", "other_shape"]


def test_axes_and_orders_are_listed_and_named():
    assert list(axes_of(2)) == [(0,), (1,), (0, 1)]
    assert orders(2) == [(1, 0)]
    assert [named_axes(axes) for axes in axes_of(2)] == ["axis 0", "axis 1", "axes 0, 1"]
