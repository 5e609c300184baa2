"""Functions that make tensors. tests/pytorch/ compares them with PyTorch."""

import numpy as np
import pytest

import tinygrad_gpt as torch
from tinygrad_gpt.errors import BackendError, DTypeError, ShapeError

MAKERS = {
    "zeros": lambda **s: torch.zeros(2, 3, **s), "ones": lambda **s: torch.ones((2, 3), **s),
    "empty": lambda **s: torch.empty(2, 3, **s), "full": lambda **s: torch.full((2, 3), 7, **s),
    "eye": lambda **s: torch.eye(2, 3, **s), "arange": lambda **s: torch.arange(6, **s),
    "linspace": lambda **s: torch.linspace(0, 1, 5, **s), "tensor": lambda **s: torch.tensor([1, 2], **s),
    "zeros_like": lambda **s: torch.zeros_like(torch.ones(2), **s),
    "ones_like": lambda **s: torch.ones_like(torch.ones(2), **s),
    "full_like": lambda **s: torch.full_like(torch.ones(2), 3, **s),
}


@pytest.mark.parametrize("maker", MAKERS)
def test_dtype_device_and_gradient(maker, backend):
    made = MAKERS[maker](dtype=torch.float64, requires_grad=True)
    assert isinstance(made.data, backend.array_type)
    assert made.dtype == np.float64
    assert made.requires_grad
    assert made.is_leaf
    on_host = MAKERS[maker](device="cpu")
    assert isinstance(on_host.data, np.ndarray)
    assert not on_host.requires_grad


def test_tensor_copies_and_as_tensor_shares():
    array = np.ones(2, np.float32)
    copy, shared = torch.tensor(array), torch.as_tensor(array)
    array[0] = 5.0
    assert copy.tolist() == [1.0, 1.0]
    assert shared.tolist() == torch.from_numpy(array).tolist() == [5.0, 1.0]
    assert torch.as_tensor(shared) is shared
    assert torch.as_tensor(shared, dtype=torch.float64).dtype == np.float64
    with pytest.raises(DTypeError, match="from_numpy: expected a NumPy array, not list"):
        torch.from_numpy([1.0])


def test_a_tensor_is_moved_to_a_device(backend):
    there = torch.as_tensor(torch.Tensor(np.ones(2), backend=backend.name), device="cpu")
    assert isinstance(there.data, np.ndarray)


def test_bad_sizes_are_refused_in_words():
    with pytest.raises(ShapeError, match=r"zeros: the size \(2, -1\) has a negative length"):
        torch.zeros(2, -1)
    with pytest.raises(ShapeError, match=r"ones: the size \(2.5,\) is not one of integers"):
        torch.ones(2.5)
    with pytest.raises(ShapeError, match="arange: no number of steps of -1 leads from 0 to 5"):
        torch.arange(0, 5, -1)
    with pytest.raises(DTypeError, match="full: data type 'float99' not understood"):
        torch.zeros(2, dtype="float99")
    with pytest.raises(BackendError, match="backend 'tpu': unknown"):
        torch.zeros(2, device="tpu")
