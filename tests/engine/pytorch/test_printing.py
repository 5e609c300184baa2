"""How tensors are printed."""

import numpy as np
import pytest

from tinygrad_gpt import set_printoptions, tensor


@pytest.fixture(autouse=True)
def options_as_before():
    before = np.get_printoptions()
    yield
    np.set_printoptions(**before)


def test_digits_and_exponents():
    x = tensor([0.123456, 1e-5])
    set_printoptions(precision=2, sci_mode=False)
    assert repr(x) == "Tensor([0.12, 0.  ])"
    set_printoptions(precision=6)
    assert repr(x) == "Tensor([0.123456, 0.00001 ])"
    set_printoptions(sci_mode=True)
    assert repr(x) == "Tensor([1.23456e-01, 1.00000e-05])"


def test_long_tensors_and_lines():
    set_printoptions(threshold=5, edgeitems=1)
    assert repr(tensor(list(range(9)))) == "Tensor([0, ..., 8])"
    set_printoptions(threshold=100, linewidth=20)
    assert repr(tensor(list(range(9)))).count("\n") == 2
