"""What flows through an expression and what flows past it."""

import numpy as np

from tinygrad_gpt.engine import OPS
from tinygrad_gpt.study.cases import cases_of
from tinygrad_gpt.study.parts import parts, shortcuts


def case_of(name, *arguments, **settings):
    function = OPS[name].function
    return cases_of(function, function, (arguments, settings), 0)[0]


def test_past_the_inner_factor_of_gelu_flows_its_value():
    case = case_of("gelu", np.array([0.5, -1.0, 2.0]))
    past = {part.expression: part.past for part in parts(case)}
    assert any(np.allclose(gradient, case.g * case.locals["h"], atol=1e-8) for gradient in past.values())
    assert "CUBIC * x * x * x" in past


def test_past_the_sum_of_softmax_flows_its_diagonal_and_maxima_count_nowhere():
    case = case_of("softmax", np.array([[0.5, -1.0, 2.0]]))
    past = {part.expression: part.past for part in parts(case)}
    assert np.allclose(past["e.sum(axis=axis, keepdims=True)"], case.g * case.y, atol=1e-8)
    assert not [text for text in past if ".max(" in text and text.startswith("x.")]


def test_a_shortcut_leaves_out_one_derivative():
    case = case_of("gelu", np.array([0.5, -1.0, 2.0]))
    gradients = {(outer, inner): gradient for outer, inner, gradient in shortcuts(case)}
    h = case.locals["h"]
    expected = case.g * (h + case.x * 2 * h * (1 - h))
    assert any(np.allclose(gradient, expected, atol=1e-7) for gradient in gradients.values())
