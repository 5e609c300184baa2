"""One call of an op, and the difference of two arrays."""

import math

import numpy as np

import tinygrad_gpt.ops  # noqa: F401 - fills the registry
from tinygrad_gpt.engine import OPS, Tensor
from tinygrad_gpt.study.calls import Call, cast, error, samples


def test_a_call_keeps_result_gradients_and_saved_arrays():
    (arguments, settings), *_ = samples(OPS["linear"])
    call = Call(OPS["linear"], arguments, settings, cotangent=np.ones((2, 4)))
    x, weight, bias = arguments
    assert np.allclose(call.result.numpy(), x @ weight + bias)
    assert [g.shape for g in call.grads] == [a.shape for a in arguments]
    assert np.allclose(call.grads[2].numpy(), 2.0)
    assert {"x", "weight"} <= set(call.saved)
    assert all(isinstance(leaf, Tensor) for leaf in call.leaves)


def test_the_error_is_relative_to_the_largest_value():
    assert error([1.0, 200.0], [1.0, 100.0]) == 1.0
    assert error([0.5], [0.0]) == 0.5
    assert error([np.nan, 1.0], [np.nan, 1.0]) == 0.0
    assert math.isnan(error([np.nan], [1.0]))
    assert error([1.0], [1.0, 1.0]) == math.inf


def test_a_cast_leaves_integers_as_they_are():
    assert cast(np.ones(2), np.float32).dtype == np.float32
    assert cast(np.ones(2, int), np.float32).dtype == int
    assert cast(3.0, np.float32) == 3.0
