"""Initial values: GPT-2's as arrays, and PyTorch's, which overwrite a tensor and end with an underscore.

They are drawn on the host, so that every backend starts from the same numbers.
NumPy imports its generators when `np.random` is first touched, so the annotations that name it are strings.
"""

import math

import numpy as np

from tinygrad_gpt.engine.mode import no_grad
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import ShapeError, UsageError
from tinygrad_gpt.random import default_generator

__all__ = [
    "calculate_gain", "constant_", "kaiming_normal_", "kaiming_uniform_", "normal", "normal_", "ones", "ones_",
    "uniform_", "xavier_normal_", "xavier_uniform_", "zeros", "zeros_",
]

# -- GPT-2's


def normal(generator: "np.random.Generator | None", *shape: int, std: float = 0.02) -> np.ndarray:
    """Normal with mean 0, float32. GPT-2's standard deviation is 0.02 (openai/gpt-2, src/model.py).

    Without a generator zeros, for weights that are about to be loaded.
    """
    if generator is None:
        return zeros(*shape)
    return generator.standard_normal(shape, dtype=np.float32) * np.float32(std)


def zeros(*shape: int) -> np.ndarray:
    """float32 zeros."""
    return np.zeros(shape, np.float32)


def ones(*shape: int) -> np.ndarray:
    """float32 ones."""
    return np.ones(shape, np.float32)


# -- PyTorch's: from the default generator, the numbers that PyTorch draws after the same seed. Source: torch.nn.init.


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Overwrite a tensor with one value."""
    with no_grad():
        return tensor.copy_(val)


def zeros_(tensor: Tensor) -> Tensor:
    """Overwrite a tensor with zeros."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Overwrite a tensor with ones."""
    return constant_(tensor, 1.0)


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Overwrite a tensor with numbers uniform between a and b."""
    with no_grad():
        return tensor.copy_(default_generator.uniform(*tensor.shape, low=a, high=b))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Overwrite a tensor with normal numbers."""
    with no_grad():
        return tensor.copy_(default_generator.normal(*tensor.shape) * np.float32(std) + np.float32(mean))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Uniform, with variance 2 gain² / (n_in + n_out) (Glorot & Bengio 2010)."""
    bound = math.sqrt(3.0) * gain * math.sqrt(2.0 / sum(_fans(tensor)))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Normal, with variance 2 gain² / (n_in + n_out) (Glorot & Bengio 2010)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(_fans(tensor))))


def kaiming_uniform_(tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Uniform, with variance gain² / n (He et al. 2015, arXiv:1502.01852).

    Args:
        tensor: (n_out, n_in, …).
        a: slope of leaky_relu below 0.
        mode: n is "fan_in", the inputs of an output, or "fan_out", the outputs of an input.
        nonlinearity: see `calculate_gain`.
    """
    if tensor.size == 0:
        return tensor
    bound = math.sqrt(3.0) * (calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode)))
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Normal, with variance gain² / n; the arguments are those of `kaiming_uniform_`."""
    return normal_(tensor, 0.0, calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode)))


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the size of activations behind a nonlinearity.

    Raises:
        UsageError: "calculate_gain: nonlinearity is 'swish'; choose one of …".
    """
    slope = 0.01 if param is None else param
    gains = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5.0 / 3, "relu": math.sqrt(2.0),
             "leaky_relu": math.sqrt(2.0 / (1 + slope**2)), "selu": 0.75}
    if nonlinearity not in gains:
        raise UsageError(f"calculate_gain: nonlinearity is {nonlinearity!r}; choose one of {', '.join(gains)}")
    return gains[nonlinearity]


def _fans(tensor: Tensor) -> tuple[int, int]:
    """n_in and n_out of a weight (n_out, n_in, …)."""
    if tensor.ndim < 2:
        raise ShapeError(f"init: the tensor is {tensor.shape}; inputs and outputs need at least two axes")
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def _fan(tensor: Tensor, mode: str) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise UsageError(f"init: mode is {mode!r}; choose fan_in or fan_out")
    return _fans(tensor)[mode == "fan_out"]
