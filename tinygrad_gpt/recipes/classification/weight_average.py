"""The mean of the weights over the last steps of a run.

Source: Izmailov et al. 2018, arXiv:1803.05407; Kaddour 2022, arXiv:2209.14981.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from tinygrad_gpt.backend import Array, backend_of
from tinygrad_gpt.engine.tensor import Tensor

__all__ = ["WeightAverage"]


class WeightAverage:
    """A running mean of parameters.

    Args:
        parameters: what is averaged, on their own backend.
    """

    def __init__(self, parameters: Sequence[Tensor]):
        self.parameters = parameters
        self.means: list[Array] = []
        self.count = 0

    def add(self) -> None:
        """Count the present weights in."""
        self.count += 1
        if self.count == 1:
            self.means = [p.data.copy() for p in self.parameters]
        for mean, p in zip(self.means, self.parameters, strict=True):
            mean += (p.data - mean) / np.float32(self.count)

    def adopt(self) -> None:
        """Give the parameters their means; the average is then empty."""
        for mean, p in zip(self.means, self.parameters, strict=True):
            p.data[...] = mean
            p.mark_changed()
        self.means, self.count = [], 0

    def state(self) -> dict[str, np.ndarray]:
        """The means and their number, for a checkpoint; empty before the first."""
        means = {str(i): backend_of(mean).to_numpy(mean) for i, mean in enumerate(self.means)}
        return means | {"count": np.array(self.count)} if means else {}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go back to a `state`."""
        self.count = int(state.get("count", 0))
        self.means = [backend_of(p.data).from_numpy(np.array(state[str(i)])) for i, p in enumerate(self.parameters)] \
            if self.count else []
