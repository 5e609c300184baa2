"""A rule beside differences of a forward pass."""

import numpy as np
import pytest

from tinygrad_gpt.engine import OPS
from tinygrad_gpt.study.cases import RuleError, answer, cases_of, numeric_gradient, summed

SAMPLE = ((np.array([[0.5, -1.0, 2.0]]), np.array([[1.0, 3.0, -0.5]])), {})


def product(xp, a, b):
    return a * b, (lambda g: g * b, lambda g: g * a)


def test_a_case_compares_the_rule_with_differences():
    cases = cases_of(product, product, SAMPLE, 0)
    assert [case.name for case in cases] == ["a", "b"]
    for case in cases:
        assert case.passed
        assert np.allclose(case.right, case.yours, atol=1e-11)


def test_five_points_are_exact_to_eleven_digits():
    (x,), settings = (np.array([0.3, -0.7]),), {}
    gradient = numeric_gradient(OPS["tanh"].function, (x,), settings, 0, np.ones(2))
    assert np.abs(gradient - (1 - np.tanh(x) ** 2)).max() < 1e-11


def test_locals_have_arguments_intermediate_values_and_the_result():
    function = OPS["layer_norm"].function
    x, weight = np.arange(6.0).reshape(2, 3), np.ones(3)
    (case, *_) = cases_of(function, function, ((x, weight, weight), {}), 0)
    assert {"x", "weight", "bias", "y", "centred", "rstd", "x_hat"} <= set(case.locals)
    assert np.allclose(case.locals["centred"], [[-1, 0, 1], [-1, 0, 1]])


@pytest.mark.parametrize(("rule", "said"), [
    (lambda xp, a, b: a * b, "returns no pair"),
    (lambda xp, a, b: (a * b, lambda g: g * b), "write a comma behind it"),
    (lambda xp, a, b: (a * b, (lambda g: None, None)), "returns nothing: the `return` of <lambda> is missing"),
    (lambda xp, a, b: (a * b, (lambda g: "a", None)), "<lambda> returns str, not an array"),
])
def test_what_is_no_gradient_is_said(rule, said):
    with pytest.raises(RuleError, match=said):
        answer(rule, *SAMPLE, np.ones((1, 3)))


def test_too_few_pullbacks_are_none():
    assert answer(lambda xp, a, b: (a * b, [lambda g: g * b]), *SAMPLE, np.ones((1, 3)))[1][1] is None


def test_a_joint_function_is_told_from_single_pullbacks():
    joint = cases_of(lambda xp, a, b: (a * b, lambda g: (g * b, g * a)), product, SAMPLE, 0)
    assert [case.is_joint for case in (joint[0], cases_of(product, product, SAMPLE, 0)[0])] == [True, False]
    assert all(np.array_equal(part, joint[1].yours) for part in joint[1].pulled_twice(joint[1].g))


def test_numbers_are_of_arrays_with_equal_entries_too():
    (case, *_) = cases_of(product, product, ((np.array([2.5, 2.5]), np.array(1.0)), {}), 0)
    assert case.numbers == {"a": 2.5, "y": 2.5}


@pytest.mark.parametrize(("given", "argument", "left"), [
    ((2, 3), (3,), (3,)), ((2, 3), (2, 1), (2, 1)), ((4, 2, 3), (1, 3), (1, 3)), ((3, 1), (3,), (3, 1)),
    ((2,), (2, 3), (2,)), ((2, 3), (2, 2), (2, 3)),
])
def test_only_what_was_broadcast_is_summed(given, argument, left):
    assert summed(np.ones(given), argument).shape == left
