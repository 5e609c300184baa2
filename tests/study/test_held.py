"""A forward pass that tells its values, and keeps one constant."""

import numpy as np

from tinygrad_gpt.engine import OPS
from tinygrad_gpt.study.cases import XP
from tinygrad_gpt.study.held import instrumented, named_numbers, named_values

X = np.array([0.5, -1.0])


def test_the_values_of_names_and_expressions_are_told():
    function = OPS["gelu"].function
    assert list(named_values(function, XP, (X,), {})) == ["h"]
    forward, held = instrumented(function)
    y = forward(XP, X)[0]
    assert np.array_equal(y, function(XP, X)[0])
    texts = [text for text, _ in held.values.values()]
    assert "CUBIC * x * x * x" in texts
    assert "h" in texts


def test_numbers_that_have_names_are_told():
    targets = np.array([1, 0, -100])
    numbers = named_numbers(OPS["cross_entropy"].function, XP, (np.ones((3, 2)), targets), {})
    assert numbers == {"total": 2.0}
    assert named_numbers(eval("lambda xp, x: (x, None)"), XP, (X,), {}) == {}


def test_a_frozen_expression_keeps_its_value():
    forward, held = instrumented(OPS["gelu"].function)
    held.frozen, held.values = frozenset(), {}
    forward(XP, X)
    number = next(number for number, (text, _) in held.values.items() if text == "h")
    kept = held.values[number][1]
    held.frozen = frozenset({number})
    assert np.array_equal(forward(XP, 2 * X)[0], 2 * X * kept)
    held.frozen = frozenset()


def test_a_function_without_source_has_no_names():
    assert named_values(eval("lambda xp, x: (x, None)"), XP, (X,), {}) == {}
