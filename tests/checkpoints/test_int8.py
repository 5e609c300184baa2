"""Matrices in 8 bits come back within 1/254 of the largest value of their row; other tensors as they were."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tinygrad_gpt.checkpoints.int8 import from_int8, to_int8
from tinygrad_gpt.errors import CheckpointError

VALUES = st.floats(-2.0**127, 2.0**127, width=32, allow_subnormal=False)


@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=9), elements=VALUES))
def test_each_value_changes_by_half_a_step_at_most(matrix):
    restored = from_int8(to_int8({"w": matrix}))["w"]
    assert (restored.dtype, restored.shape) == (np.float32, matrix.shape)
    largest = np.abs(matrix.astype(np.float64)).max(axis=1, keepdims=True, initial=0)
    assert (np.abs(restored - matrix.astype(np.float64)) <= largest / 253 + 1e-43).all()


def test_the_largest_value_of_a_row_is_exact_and_zero_stays_zero():
    matrix = np.float32([[127, -3, 0], [0, 0, 0], [-1e-30, 5e-31, 0]])
    stored = to_int8({"w": matrix})
    assert stored["w"].tolist()[:2] == [[127, -3, 0], [0, 0, 0]]
    np.testing.assert_allclose(from_int8(stored)["w"][:, 0], matrix[:, 0], rtol=1e-6)
    assert from_int8(stored)["w"][1].tolist() == [0, 0, 0]


def test_what_was_rounded_once_is_not_rounded_again():
    matrix = np.random.default_rng(0).normal(size=(50, 70)).astype(np.float32)
    once = to_int8({"w": matrix})
    twice = to_int8(from_int8(once))
    np.testing.assert_array_equal(once["w"], twice["w"])
    np.testing.assert_allclose(once["w.row_scale"], twice["w.row_scale"], rtol=3e-7)


def test_other_tensors_are_left_alone():
    tensors = {"b": np.float32([1, 2]), "cube": np.ones((2, 2, 2), np.float32), "n": np.int64([3])}
    stored = to_int8(tensors)
    assert stored.keys() == tensors.keys()
    assert all(from_int8(stored)[name] is array for name, array in tensors.items())
    assert from_int8({"w": np.int8([[1]])})["w"].dtype == np.int8  # a checkpoint whose tensors are numbers


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_not_stored(value):
    with pytest.raises(CheckpointError, match="tensor 'w' has values that are not finite, which int8 cannot hold"):
        to_int8({"w": np.float32([[1, value]])})


@pytest.mark.parametrize(("matrix", "scale", "what"), [
    (None, np.ones(2, np.float32), "belongs to nothing"),
    (np.ones((2, 3), np.float32), np.ones(2, np.float32), "belongs to float32 (2, 3)"),
    (np.ones((2, 3), np.int8), np.ones(3, np.float32), "is float32 (3,) and belongs to int8 (2, 3)"),
    (np.ones((2, 3), np.int8), np.ones(2, np.float16), "is float16 (2,)"),
    (np.ones(2, np.int8), np.ones(2, np.float32), "belongs to int8 (2,)")])
def test_scales_that_do_not_fit(matrix, scale, what):
    tensors = {"w.row_scale": scale} | ({} if matrix is None else {"w": matrix})
    with pytest.raises(CheckpointError) as caught:
        from_int8(tensors)
    assert what in str(caught.value)
