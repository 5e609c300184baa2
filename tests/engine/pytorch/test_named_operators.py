"""Operators by name."""

import numpy as np
import pytest

from tinygrad_gpt.engine import Tensor


@pytest.mark.parametrize(("name", "expression"), [
    ("add", "x + y"), ("sub", "x - y"), ("subtract", "x - y"), ("mul", "x * y"), ("multiply", "x * y"),
    ("div", "x / y"),    ("divide", "x / y"), ("true_divide", "x / y"), ("remainder", "x % y"),
    ("floor_divide", "x // y"), ("eq", "x == y"),
    ("ne", "x != y"), ("lt", "x < y"), ("le", "x <= y"), ("gt", "x > y"), ("ge", "x >= y"),
    ("logical_and", "(x != 0) & (y != 0)"), ("logical_or", "(x != 0) | (y != 0)")])
def test_a_method_is_its_operator(name, expression, backend):
    a, b = np.array([0.0, 5.0, 2.0]), np.array([3.0, 2.0, 2.0])
    x, y = (Tensor(v, backend=backend.name) for v in (a, b))
    assert getattr(x, name)(y).tolist() == eval(expression, {"x": a, "y": b}).tolist()


def test_bits_and_alpha():
    x = Tensor([1, 6])
    assert (x.bitwise_and(3).tolist(), x.bitwise_or(1).tolist(), x.bitwise_xor(1).tolist()) == ([1, 2], [1, 7], [0, 7])
    assert (x.add(x, alpha=2).tolist(), x.sub(x, alpha=2).tolist()) == ([3, 18], [-1, -6])
    assert (x == 1).logical_not().tolist() == [False, True]
