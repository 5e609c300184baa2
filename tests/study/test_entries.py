"""The gradient check of any function, entry by entry."""

import numpy as np
import pytest

from tinygrad_gpt import OPS, Tensor, gradcheck, ops
from tinygrad_gpt.errors import TapeError

DRAW = np.random.default_rng(0)


def test_a_right_function_passes_and_prints_its_largest_errors():
    check = gradcheck(lambda x, w: ops.cross_entropy(ops.gelu(x @ w), np.array([0, 1])),
                      DRAW.normal(size=(2, 3)), DRAW.normal(size=(3, 4)))
    assert check
    assert len(check.entries) == 18
    assert max(entry.error for entry in check.entries) < 1e-8
    assert str(check).splitlines()[-1] == "18 entries (13 with smaller errors not shown): all right"


def test_the_wrong_entry_is_shown(monkeypatch):
    right = OPS["exp"].plain.function

    def exp(xp, x):
        y, (pull,) = right(xp, x)
        return y, [lambda g: pull(g) * np.where(np.arange(x.size) == 1, 1.5, 1.0)]

    monkeypatch.setattr(OPS["exp"].plain, "function", exp)
    check = gradcheck(lambda x: x.exp().sum(), [0.0, 1.0, 2.0])
    assert not check
    (wrong,) = check.wrong
    assert (wrong.argument, wrong.index) == (0, (1,))
    assert wrong.analytic == pytest.approx(1.5 * np.e)
    assert wrong.numeric == pytest.approx(np.e)
    assert str(check).splitlines()[1].endswith("WRONG")
    assert str(check).splitlines()[-1] == "3 entries: 1 wrong"


def test_a_result_of_several_values_is_weighted():
    assert gradcheck(lambda x: x.softmax(), [0.1, 0.2, 0.3])  # unweighted the gradient would be 0
    assert all(abs(entry.analytic) > 1e-3 for entry in gradcheck(lambda x: x.softmax(), [0.1, 0.2, 0.3]).entries)


def test_integers_and_tensors_are_taken_as_floats():
    assert gradcheck(lambda x: (x * x).sum(), [1, 2])
    assert gradcheck(lambda x: (x * x).sum(), Tensor([1.0, 2.0]))


@pytest.mark.parametrize(("func", "said"), [
    (lambda x: 3.0, "the function returned float, not a Tensor; return a Tensor computed from the arguments, such as"),
    (lambda x: None, "the function returned NoneType, not a Tensor"),
    (lambda x: x.numpy().sum(), "not a Tensor"),
    (lambda x: Tensor(1.0), "the result does not depend on the arguments through ops"),
    (lambda x: (x.detach() * 2.0).sum(), "the result does not depend on the arguments through ops"),
])
def test_nonsense_is_refused_with_an_example(func, said):
    with pytest.raises(TapeError, match=said):
        gradcheck(func, [1.0, 2.0])
