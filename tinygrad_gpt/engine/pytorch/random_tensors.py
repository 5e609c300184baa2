"""Random tensors, with the numbers that PyTorch draws on a CPU after the same ``manual_seed``.

They are drawn on the host, by `tinygrad_gpt/random.py`, and then moved to the device.
"""

import numpy as np

from tinygrad_gpt.engine.pytorch.creation import as_size, device_of, placed
from tinygrad_gpt.engine.pytorch.dtypes import as_dtype
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import DTypeError, NonFiniteError, ShapeError
from tinygrad_gpt.random import TorchStream, default_generator

__all__ = ["Generator", "multinomial", "normal", "rand", "rand_like", "randint", "randn", "randn_like", "randperm"]


def Generator(device="cpu") -> TorchStream:
    """A stream of its own, for ``generator=``, with the seed of PyTorch's new generators."""
    return TorchStream(67280421310721)


def rand(*size, generator: TorchStream | None = None, dtype="float32", device=None, requires_grad=False) -> Tensor:
    """Uniform numbers in [0, 1); the size is given as integers or as one tuple."""
    stream, shape = generator or default_generator, as_size(size, "rand")
    if _drawn_dtype(dtype, "rand") == np.float32:
        return placed(stream.uniform(*shape), device, requires_grad)
    return placed(stream.doubles(int(np.prod(shape))).reshape(shape), device, requires_grad)


def randn(*size, generator: TorchStream | None = None, dtype="float32", device=None, requires_grad=False) -> Tensor:
    """Normal numbers of mean 0 and variance 1; the size is given as integers or as one tuple."""
    values = (generator or default_generator).normal(*as_size(size, "randn"), dtype=_drawn_dtype(dtype, "randn").type)
    return placed(values, device, requires_grad)


def normal(mean: float, std: float, size, *, generator: TorchStream | None = None, dtype="float32",
           device=None) -> Tensor:
    """Normal numbers of a mean and a standard deviation."""
    return randn(size, generator=generator, dtype=dtype, device=device) * std + mean


def randint(low: int, high=None, size=None, *, generator: TorchStream | None = None, dtype="int64",
            device=None) -> Tensor:
    """Integers from ``low`` up to but not including ``high``; ``randint(high, size)`` begins at 0.

    Raises:
        ShapeError: "randint: there is no integer from 5 up to 5".
    """
    if size is None:
        low, high, size = 0, low, high
    if not low < high:
        raise ShapeError(f"randint: there is no integer from {low} up to {high}")
    values = (generator or default_generator).integers(low, high, *as_size((size,), "randint"))
    return placed(values.astype(as_dtype(dtype or "int64", "randint")), device, False)


def randperm(n: int, *, generator: TorchStream | None = None, dtype="int64", device=None) -> Tensor:
    """The integers from 0 up to but not including ``n`` in random order."""
    values = (generator or default_generator).permutation(n)
    return placed(values.astype(as_dtype(dtype or "int64", "randperm")), device, False)


def rand_like(like: Tensor, *, dtype=None, requires_grad=False) -> Tensor:
    """Uniform numbers in [0, 1) of the shape, dtype and device of ``like``."""
    return rand(like.shape, dtype=dtype or like.dtype, device=device_of(like), requires_grad=requires_grad)


def randn_like(like: Tensor, *, dtype=None, requires_grad=False) -> Tensor:
    """Normal numbers of the shape, dtype and device of ``like``."""
    return randn(like.shape, dtype=dtype or like.dtype, device=device_of(like), requires_grad=requires_grad)


def _drawn_dtype(dtype, where):
    kind = as_dtype(dtype or "float32", where)
    if kind not in (np.float32, np.float64):
        raise DTypeError(f"{where}: numbers are drawn as float32 or float64, not {kind}; convert them with astype")
    return kind


def multinomial(input, num_samples: int, replacement: bool = False, *, generator: TorchStream | None = None) -> Tensor:
    """Indices drawn with given probabilities.

    Args:
        input: probabilities (V) or (N, V), which need not sum to 1.
        num_samples: how many of each row.
        replacement: whether an index may be drawn again.

    Returns:
        int64, (num_samples) or (N, num_samples).

    Raises:
        ShapeError: "multinomial: the probabilities have 3 axes, expected 1 or 2"; more samples than a row has
            indices of probability above 0.
        NonFiniteError: a probability is negative or no finite number, or all of a row are 0.
    """
    stream, p = generator or default_generator, Tensor(input).numpy()
    if p.ndim not in (1, 2):
        raise ShapeError(f"multinomial: the probabilities have {p.ndim} axes, expected 1 or 2")
    if not (np.isfinite(p) & (p >= 0)).all() or not (p.sum(axis=-1) > 0).all():
        raise NonFiniteError("multinomial: probabilities are negative, not finite, or all 0; give what softmax returns")
    if replacement and num_samples > 1:
        drawn = np.stack([_inverted(row, stream.doubles(num_samples)) for row in p.reshape(-1, p.shape[-1])])
        drawn = drawn.reshape(*p.shape[:-1], num_samples)
    else:
        if not 1 <= num_samples <= (p > 0).sum(axis=-1).min():
            raise ShapeError(f"multinomial: cannot draw {num_samples} different indices of rows of {p.shape[-1]} "
                             "probabilities; draw fewer, or with replacement=True")
        drawn = np.argsort(-stream.scores(p), axis=-1, kind="stable")[..., :num_samples]
    return placed(drawn.astype(np.int64), device_of(Tensor(input)), False)


def _inverted(p: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """The indices at which the cumulative probabilities (V) reach some uniforms (n)."""
    cumulative = np.cumsum(p, dtype=p.dtype) / p.sum(dtype=p.dtype)
    return np.minimum(np.searchsorted(cumulative, uniforms), len(p) - 1)
