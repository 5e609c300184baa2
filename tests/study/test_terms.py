"""Gradients, and parts of them, named as products of what is at hand."""

import numpy as np
import pytest

from tinygrad_gpt.engine import OPS
from tinygrad_gpt.study import terms
from tinygrad_gpt.study.cases import cases_of

R = np.random.default_rng(0)


def case_of(name, *arguments, **settings):
    function = OPS[name].function
    return cases_of(function, function, (arguments, settings), 0)[0]


@pytest.fixture
def norm():
    return case_of("layer_norm", R.normal(size=(2, 4)), R.normal(size=4), R.normal(size=4))


def test_a_term_is_named(norm):
    there = norm.locals
    assert terms.as_term(norm, norm.g * there["weight"]) == "g · weight"
    assert terms.as_term(norm, -2 * norm.g * there["weight"]) == "−2 · g · weight"
    inner = (norm.g * there["weight"]).mean(axis=1, keepdims=True)
    assert terms.as_term(norm, -there["rstd"] * inner * there["x_hat"]) == "−rstd · x_hat · mean(g · weight, axis 1)"
    assert terms.as_term(norm, np.cos(norm.g)) is None


def test_a_sum_of_two_is_no_mean():
    case = case_of("softmax", R.normal(size=(2, 3)))
    total = case.locals["y"] * (case.g * case.locals["y"]).sum(axis=0, keepdims=True)
    assert terms.as_term(case, -total) == "−y · Σ(g · y, axis 0)"
    assert terms.as_term(case, -total / 2) == "−y · mean(g · y, axis 0)"


def test_two_terms_are_named(norm):
    there = norm.locals
    assert terms.as_pair(norm, norm.g * there["weight"] - norm.g * there["x_hat"] ** 2) == (
        "g · weight + −g · x_hat · x_hat")
    assert terms.as_pair(norm, np.cos(norm.g)) is None


@pytest.mark.parametrize(("body", "text"), [
    ("y * (g - g * y)", "the sum over axis 1 in y · Σ(g · y, axis 1) is forgotten"),
    ("y * (g.sum(axis=1, keepdims=True) - (g * y).sum(axis=1, keepdims=True))",
     "y · g is summed over axis 1, which it should keep"),
    ("y * (g.mean(axis=1, keepdims=True) - (g * y).sum(axis=1, keepdims=True))",
     "y · g is averaged over axis 1, which it should keep"),
    ("y * (g - 2 * g * y + (g * y).sum(axis=1, keepdims=True))", None),
])
def test_a_forgotten_sum_is_told_from_one_too_much(body, text):
    def student(xp, x, *, axis=-1):
        y, _ = OPS["softmax"].function(xp, x, axis=axis)
        return y, (eval("lambda g: " + body, {"y": y}),)

    (case,) = cases_of(student, OPS["softmax"].function, ((R.normal(size=(2, 3)),), {}), 0)
    assert terms.as_forgotten_sum(case, case.yours - case.right) == text


def test_factors_are_named(norm):
    there = norm.locals
    assert terms.as_ratio(norm, norm.right / there["rstd"], norm.right) == "the factor rstd is missing"
    assert terms.as_ratio(norm, norm.right * there["weight"], norm.right) == "the factor weight is too much"
    assert terms.as_ratio(norm, -norm.right * there["weight"], norm.right) == (
        "the factor weight is too much, and the sign is wrong")
    assert terms.as_ratio(norm, norm.right / there["bias"] * there["weight"], norm.right) == (
        "weight stands where bias should")


def test_matrix_products_are_named():
    case = case_of("linear", R.normal(size=(2, 3)), R.normal(size=(3, 3)), R.normal(size=3))
    weight = case.locals["weight"]
    assert terms.as_matrix_product(case, case.g @ weight) == "g @ weight"
    assert terms.as_matrix_product(case, case.g @ weight.T) == "g @ weightᵀ"
