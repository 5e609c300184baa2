"""PyTorch's random numbers on a CPU, drawn with NumPy, so that numbers printed in books and lectures can be reproduced.

PyTorch and `numpy.random.RandomState` both run the Mersenne Twister MT19937 and seed it alike, so they give the
same 32-bit words. What PyTorch makes of the words is written down here, one method per rule. A sequence of calls
here gives what the same sequence of calls after `torch.manual_seed(seed)` gives.

The rules for dropout masks (`keep`) and for samples (`choice`) are those of PyTorch's own code. Some of its versions
took such draws from Intel's MKL where they were built with it, and gave other masks on Linux than on a Mac
(github.com/pytorch/pytorch/issues/121595); 2.13 takes them from its own code there as well.

Source: aten/src/ATen/core/{MT19937RNGEngine,DistributionsHelper,TransformationHelper}.h and
aten/src/ATen/native/cpu/DistributionTemplates.h of https://github.com/pytorch/pytorch.
"""

import functools
import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["TorchStream", "default_generator", "manual_seed"]


class TorchStream:
    """The numbers that PyTorch draws on a CPU after `torch.manual_seed(seed)`.

    Args:
        seed: not negative; only its lowest 32 bits count, as in PyTorch. None: a random one, at the first draw.

    Example:
        >>> TorchStream(123).uniform(2)  # torch.manual_seed(123); torch.rand(2)
        array([0.29611194, 0.516562  ], dtype=float32)
    """

    def __init__(self, seed: int | None):
        self._second_normal: float | None = None  # `normal` makes pairs; this waits for its turn
        if seed is not None:
            self.manual_seed(seed)

    def manual_seed(self, seed: int) -> "TorchStream":
        """Begin anew with a seed; returns the stream."""
        self._state, self._second_normal = np.random.RandomState(seed % 2**32), None
        return self

    @functools.cached_property
    def _state(self) -> "np.random.RandomState":
        """The Mersenne Twister; made late, because NumPy imports its generators when they are first used."""
        return np.random.RandomState(int.from_bytes(os.urandom(4)))

    def state(self) -> tuple[Any, float | None]:
        """The state of the stream, for `restore`."""
        return self._state.get_state(), self._second_normal

    def restore(self, state: tuple[Any, float | None]) -> None:
        """Restore a state, so that the same numbers are drawn again."""
        words, second_normal = state
        self._state.set_state(words)
        self._second_normal = second_normal

    def words(self, n: int) -> np.ndarray:
        """The next n words of the Mersenne Twister, (n,) uint32."""
        return self._state.randint(0, 2**32, n, np.uint32)

    def long_words(self, n: int) -> np.ndarray:
        """The next n pairs of words, the first of a pair on top, (n,) uint64."""
        first, second = self.words(2 * n).astype(np.uint64).reshape(n, 2).T
        return (first << np.uint64(32)) | second

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> np.ndarray:
        """`torch.rand`, `Tensor.uniform_(low, high)`: float32, one word each, of which 24 bits are used."""
        low, width = float(np.float32(low)), float(np.float32(high) - np.float32(low))
        values = np.empty(math.prod(shape), np.float32)
        for piece in _pieces(values):
            piece[:] = (self.words(len(piece)) & np.uint32(0xFFFFFF)) * (2.0**-24 * width) + low
        return values.reshape(shape)

    def normal(self, *shape: int, dtype: type = np.float32) -> np.ndarray:
        """`torch.randn`, `nn.Embedding`: float32 or float64, mean 0 and variance 1, by the method of Box and Muller.

        From 16 values on, PyTorch fills the array with uniforms and turns them, 16 at a time, into normals; where
        the size is no multiple of 16, the last 16 values are drawn again. Fewer values come from `_scalar_normal`.
        """
        n = math.prod(shape)
        if n < 16:
            return np.array([self._scalar_normal() for _ in range(n)], dtype).reshape(shape)
        uniform = self.uniform if dtype == np.float32 else self.doubles
        values = uniform(n)
        for piece in _pieces(values[:n // 16 * 16]):
            _box_muller(piece)
        if n % 16:
            values[-16:] = uniform(16)
            _box_muller(values[-16:])
        return values.reshape(shape)

    def _scalar_normal(self) -> float:
        """One normal from two float64 uniforms (4 words, 53 bits of each pair used); the next call has its twin."""
        if self._second_normal is not None:
            value, self._second_normal = self._second_normal, None
            return value
        u1, u2 = self.doubles(2)
        radius, angle = math.sqrt(-2 * math.log1p(-u2)), 2 * math.pi * u1
        self._second_normal = radius * math.sin(angle)
        return radius * math.cos(angle)

    def doubles(self, n: int) -> np.ndarray:
        """`torch.rand(n, dtype=torch.float64)`: uniforms in [0, 1), (n,) float64, two words each."""
        return (self.long_words(n) & np.uint64(2**53 - 1)) * 2.0**-53

    def permutation(self, n: int) -> np.ndarray:
        """`torch.randperm(n)`: (n,) int64, by Fisher and Yates' shuffle from the front."""
        order = np.arange(n)
        for i, word in enumerate(self.words(max(n - 1, 0)).tolist()):
            j = i + word % (n - i)
            order[i], order[j] = order[j], order[i]
        return order

    def integers(self, low: int, high: int, *shape: int) -> np.ndarray:
        """`torch.randint(low, high, shape)` as int64, low included, high not; ranges from 2**28 on take two words."""
        n, span = math.prod(shape), high - low
        values = self.words(n) % np.uint32(span) if span < 2**28 else self.long_words(n) % np.uint64(span)
        return low + values.astype(np.int64).reshape(shape)

    def linear(self, n_in: int, n_out: int, bias: bool = True) -> tuple[np.ndarray, np.ndarray | None]:
        """The initial values of `nn.Linear(n_in, n_out, bias)`: weight (n_out, n_in) and bias (n_out) or None.

        Both are uniform between ±1/√n_in. The bound is computed as PyTorch does it, so that its last bit agrees:
        weights by "kaiming_uniform" with a = √5.
        """
        bound = math.sqrt(3) * (math.sqrt(2 / (1 + 5)) / math.sqrt(n_in))
        weight = self.uniform(n_out, n_in, low=-bound, high=bound)
        bound = 1 / math.sqrt(n_in)
        return weight, self.uniform(n_out, low=-bound, high=bound) if bias else None

    def keep(self, p: float, *shape: int) -> np.ndarray:
        """What `nn.Dropout(p)` keeps: bool, True with probability 1 − p."""
        return (self.doubles(math.prod(shape)) < 1 - p).reshape(shape)

    def loader_order(self, n: int, shuffle: bool) -> np.ndarray:
        """The order in which one pass over a `DataLoader` of n examples takes them, (n,) int64.

        Every pass takes a 63-bit number, meant for worker processes; a shuffled one takes a second, which seeds
        a generator of its own for the permutation.
        Source: torch/utils/data/{dataloader,sampler}.py.
        """
        self.long_words(1)
        return self.sampler_order(n) if shuffle else np.arange(n)

    def sampler_order(self, n: int) -> np.ndarray:
        """The order in which a `RandomSampler` takes n examples, (n,) int64, drawn with a seed of its own."""
        return TorchStream(int(self.long_words(1)[0]) % 2**63).permutation(n)

    def choice(self, probabilities: np.ndarray) -> int:
        """`torch.multinomial(probabilities, 1)`: i with probability p[i]."""
        return int(self.scores(probabilities).argmax())

    def scores(self, probabilities: np.ndarray) -> np.ndarray:
        """Probabilities (...), each divided by an exponential variate of its own, float32.

        The places of the n largest in a row are n draws without replacement.
        """
        exponential = (-np.log1p(-self.doubles(np.size(probabilities)))).astype(np.float32)
        return np.asarray(probabilities, np.float32) / exponential.reshape(np.shape(probabilities))


default_generator = TorchStream(None)
"""The stream that layers, dropout and functions such as `randn` draw from."""


def manual_seed(seed: int) -> TorchStream:
    """Seed the default generator, which then draws PyTorch's numbers after `torch.manual_seed(seed)`; returns it."""
    return default_generator.manual_seed(seed)


def _pieces(values: np.ndarray) -> Iterator[np.ndarray]:
    """Views of 2**20 values and of what is left, so that little more memory is used than the result takes."""
    for start in range(0, len(values), 2**20):
        yield values[start:start + 2**20]


def _box_muller(uniforms: np.ndarray) -> None:
    """Turn uniforms (n,), n a multiple of 16, into normals in place: the first 8 of each 16 give
    the radii, the other 8 the angles; cosines come first, then sines.
    """
    u1, u2 = uniforms.reshape(-1, 2, 8).swapaxes(0, 1)  # (n/16, 8) each, views
    radius = np.sqrt(-2 * np.log(1 - u1))
    angle = 2 * math.pi * u2
    u1[:], u2[:] = radius * np.cos(angle), radius * np.sin(angle)
