"""One optimiser step: accumulate, check, clip, update."""

import math
from collections.abc import Callable, Sequence

from tinygrad_gpt.errors import NonFiniteError
from tinygrad_gpt.optim import AdamW, clip_grad_norm
from tinygrad_gpt.tensor import Tensor

__all__ = ["train_step"]


def train_step(losses: Sequence[Callable[[], Tensor]], optimizer: AdamW, max_norm: float,
               where: str) -> tuple[float, float]:
    """Update once with the mean gradient of several losses; each is computed only when its turn comes.

    Args:
        losses: functions that run one micro-batch forward and return its loss ().
        optimizer: its parameters are updated and their gradients left in place.
        max_norm: gradients are scaled to at most this global norm.
        where: what the error message says about the place, such as "step 7".

    Returns:
        The mean loss and the gradient norm before clipping.

    Raises:
        NonFiniteError: "loss is nan (step 7): nothing was updated; …".
    """
    optimizer.zero_grad()
    total = 0.0
    for compute in losses:
        loss = compute() * (1 / len(losses))
        loss.backward()
        total += loss.item()
    norm = clip_grad_norm(optimizer.parameters, max_norm)
    for name, value in (("loss", total), ("gradient norm", norm)):
        if not math.isfinite(value):
            raise NonFiniteError(f"{name} is {value} ({where}): nothing was updated; lower the learning rate, "
                                 "or look for bad values in the data")
    optimizer.step()
    return total, norm
