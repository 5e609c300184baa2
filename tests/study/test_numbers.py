"""A factor is named by what it is on every sample, and by a size only where that varies."""

from dataclasses import replace

import numpy as np
import pytest

from tinygrad_gpt.engine import OPS
from tinygrad_gpt.study.cases import cases_of
from tinygrad_gpt.study.numbers import coefficient, named_factor, ratio_of

R = np.random.default_rng(0)


def case_of(name, *arguments, **settings):
    function = OPS[name].function
    return cases_of(function, function, (arguments, settings), 0)[0]


def beside(case, *others):
    """The case among those of other samples."""
    return replace(case, siblings=[case, *others])


def rows(case):
    """The factor of a mean in place of a sum over rows."""
    return case.x.shape[-1] / case.x.size


def test_a_ratio_holds_everywhere():
    a = R.normal(size=5)
    assert ratio_of(3 * a, a) == pytest.approx(3)
    assert ratio_of(a + 1, a) is None


def test_a_size_is_named_only_if_it_varies_with_the_factor():
    case, other = case_of("tanh", R.normal(size=(2, 3))), case_of("tanh", R.normal(size=(4, 3)))
    assert coefficient(case, 1 / 2) == "1/2"
    assert coefficient(case, 1 / 2, rows) == "1/2"
    assert coefficient(beside(case, other), 1 / 2, rows) == "1/2 (the size of axis 0 of 'x' is 2)"
    assert coefficient(beside(case, other), -2, lambda c: -c.x.shape[0]) == "−2 (the size of axis 0 of 'x')"
    assert coefficient(beside(case, other), 2 ** 0.5, lambda c: c.x.shape[0] ** 0.5) == (
        "√2 (the size of axis 0 of 'x' is 2)")
    assert coefficient(beside(case, other), 1 / 2, lambda c: 1 / 2) == "1/2"
    assert coefficient(beside(case, other), 3, lambda c: 3) == "3"


def test_a_product_of_sizes_is_named():
    case, other = case_of("tanh", R.normal(size=(2, 3, 4))), case_of("tanh", R.normal(size=5))
    assert coefficient(beside(case, other), 1 / 6, rows) == (
        "1/6 (the product of the sizes of axes 0, 1 of 'x' is 6)")


def test_another_sample_may_raise():
    case, other = case_of("tanh", R.normal(size=(2, 3))), case_of("tanh", R.normal(size=(4, 3)))
    assert coefficient(beside(case, other), 2, lambda c: 1 / 0) == "2"


def test_settings_and_constants_have_names():
    dropout = case_of("dropout", R.normal(size=(3, 5)), np.ones((3, 5), bool), p=0.25)
    said = {0.75: "1 − p", 0.75 ** 2: "(1 − p)²", 1 / 0.75: "1/(1 − p)", 1 / 0.25: "1/p", 0.123: "0.123"}
    assert {c: coefficient(dropout, c) for c in said} == said
    gelu = case_of("gelu", R.normal(size=(2, 3)))
    root = float(np.sqrt(2 / np.pi))
    assert coefficient(gelu, 1 / root) == "1/SQRT_2_OVER_PI"
    assert coefficient(gelu, -root) == "−SQRT_2_OVER_PI"


def test_a_number_of_the_forward_pass_is_missing_or_too_much():
    case = case_of("layer_norm", R.normal(size=4), R.normal(size=4), R.normal(size=4))
    rstd = float(case.locals["rstd"][0])
    assert named_factor(case, 1 / rstd) == "the factor rstd is missing"
    assert named_factor(case, rstd) == "the factor rstd is too much"
    assert named_factor(case, 0.1234) is None


def test_what_divides_is_said_to_divide():
    logits, all_count, some_count = R.normal(size=(4, 5)), np.array([0, 1, 2, 3]), np.array([0, -100, 2, 3])
    every, some = case_of("cross_entropy", logits, all_count), case_of("cross_entropy", logits, some_count)
    longer = case_of("cross_entropy", R.normal(size=(6, 5)), np.array([0, 1, 2, -100, -100, 3]))
    assert named_factor(some, 3) == "the division by total is missing"
    assert named_factor(some, 1 / 3) == "the division by total is too much"
    assert named_factor(beside(some, every, longer), 3 / 4, lambda c: c.numbers["total"] / len(c.x)) == (
        "it is divided by 4 (the size of axis 0 of 'logits'), not by total")
