import numpy as np
import pytest

from tinygrad_gpt import Tensor
from tinygrad_gpt.errors import DTypeError
from tinygrad_gpt.nn import Parameter
from tinygrad_gpt.nn.parameter import floating


@pytest.mark.parametrize("data", [[1.0, 2.0], np.array([1, 2], np.float32), Tensor([1.0, 2.0])])
def test_numbers_arrays_and_tensors_make_parameters(data):
    parameter = Parameter(data)
    assert parameter.dtype == np.float32
    assert parameter.requires_grad
    assert parameter.is_leaf
    assert parameter.tolist() == [1.0, 2.0]


def test_a_tensor_shares_its_memory():
    x = Tensor([1.0, 2.0])
    assert Parameter(x).data is x.data


def test_it_may_be_made_frozen():
    assert not Parameter([1.0], requires_grad=False).requires_grad


def test_it_is_printed_as_torch_does():
    assert repr(Parameter([1.0, 2.0])).startswith("Parameter containing:\n")


@pytest.mark.parametrize("dtype", ["int64", np.int32, bool, np.complex64])
def test_parameters_are_floats(dtype):
    with pytest.raises(DTypeError, match=r"parameters cannot be .*; give float16, float32 or float64"):
        floating(dtype)


@pytest.mark.parametrize("dtype", [None, "float16", np.float32, np.dtype(np.float64)])
def test_a_dtype_of_floats_is_returned(dtype):
    assert floating(dtype) is dtype
