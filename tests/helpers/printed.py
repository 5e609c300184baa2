"""Compare arrays with tensors as PyTorch prints them, and build layers with PyTorch's initial values."""

import re

import numpy as np

from tinygrad_gpt.nn import Conv1D
from tinygrad_gpt.random import TorchStream

__all__ = ["assert_prints", "corners", "linear"]

# A number as it is printed, with what comes behind its point and its exponent.
NUMBER = re.compile(r"-?\d+(?:\.(\d*))?(?:e([+-]\d+))?")


def assert_prints(values, printed: str) -> None:
    """Each value rounds to the number printed at its place: it is within half a unit of the last digit.

    A hundredth of a unit is added for float32 sums that end beside the half.
    """
    numbers = list(NUMBER.finditer(printed))
    values = np.asarray(values, np.float64).ravel()
    assert len(numbers) == len(values), f"{len(values)} values, but {len(numbers)} numbers are printed"
    for value, number in zip(values, numbers, strict=True):
        unit = 10.0 ** (int(number[2] or 0) - len(number[1] or ""))
        assert abs(value - float(number[0])) <= 0.51 * unit, f"{value} is not printed as {number[0]}"


def corners(array: np.ndarray, axes: int = 1) -> np.ndarray:
    """The first and last three along the last axes, which is what PyTorch prints of a long tensor."""
    for axis in range(-axes, 0):
        array = np.take(array, [0, 1, 2, -3, -2, -1], axis=axis)
    return array


def linear(stream: TorchStream, n_in: int, n_out: int, bias: bool = True) -> Conv1D:
    """Our layer with the initial values of `nn.Linear(n_in, n_out, bias)`."""
    weight, offset = stream.linear(n_in, n_out, bias)
    layer = Conv1D(n_in, n_out, None, bias=bias)
    layer.load_state_dict({"weight": weight.T} | ({"bias": offset} if bias else {}))
    return layer
