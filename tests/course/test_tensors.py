"""A function of Tensors, called with arrays."""

import numpy as np
import pytest

from tinygrad_gpt import ops
from tinygrad_gpt.course.tensors import on_tensors

A, B = np.array([1.0, 2.0]), np.array([3.0, 4.0])


def test_the_result_and_the_gradients_are_arrays():
    y, grads = on_tensors(lambda ops, a, b: ops.mul(a, b), ops, (A, B))
    assert y.tolist() == [3.0, 8.0]
    for _ in range(2):  # again, too
        assert [grad.tolist() for grad in grads(np.array([1.0, 10.0]))] == [[3.0, 40.0], [1.0, 20.0]]


def test_an_argument_off_the_tape_has_zeros():
    _, grads = on_tensors(lambda ops, a, b: a * 2, ops, (A, B))
    assert grads(np.ones(2))[1].tolist() == [0.0, 0.0]


def test_what_is_no_tensor_is_refused():
    with pytest.raises(TypeError, match="the result is ndarray, not a Tensor: compute it with ops"):
        on_tensors(lambda ops, a: a.numpy(), ops, (A,))
