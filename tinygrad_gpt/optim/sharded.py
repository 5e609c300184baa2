"""AdamW whose moments are spread over a group: each rank keeps those of its share of every parameter.

It is stage 1 of ZeRO: the memory of the moments, twice that of the weights, is divided by the number of ranks, and so
is the work of a step. Each rank updates its share, and the weights are then put together. The results are the bits of
`AdamW`, and so are checkpoints.

Source: Rajbhandari et al. 2020, arXiv:1910.02054, section 5.1.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_gpt.backend import Array, backend_of
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.optim.adamw import AdamW
from tinygrad_gpt.parallel.group import Group

__all__ = ["ShardedAdamW"]


class ShardedAdamW(AdamW):
    """The same steps as an AdamW, with its groups and settings.

    Args:
        whole: an optimiser that has not stepped yet; it must not be used any more.
        group: all of its ranks make theirs, and step, together.
    """

    def __init__(self, whole: AdamW, group: Group):
        self.group = group
        super().__init__(whole.param_groups, **whole.defaults)

    def share(self, array: Array) -> Array:
        """What this rank updates of an array that is like a parameter, (n,), in its memory."""
        flat = array.reshape(-1)
        return flat[self.group.own(len(flat))]

    def new_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Array]:
        """m and v of the share."""
        zeros_like = backend_of(p.data).xp.zeros_like
        return {"exp_avg": zeros_like(self.share(p.data)), "exp_avg_sq": zeros_like(self.share(p.data))}

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the share of this rank, and fetch the others."""
        loss = super().step(closure)
        for p in self.parameters:
            self.group.gather(p.data.reshape(-1))
        return loss

    def whole(self, moment: Array, p: Tensor) -> np.ndarray:
        """A moment of a parameter, on the host; on other ranks than the first, which writes checkpoints, zeros."""
        return self.group.collect(backend_of(moment).to_numpy(moment), p.size).reshape(p.shape)
