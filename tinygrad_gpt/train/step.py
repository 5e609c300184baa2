"""One optimiser step: accumulate, check, clip, update."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tinygrad_gpt.errors import NonFiniteError
from tinygrad_gpt.optim import AdamW, clip_grad_norm
from tinygrad_gpt.tensor import Tensor

__all__ = ["Progress", "train_step"]


@dataclass(frozen=True)
class Progress:
    """What a training run reports after each step.

    Args:
        step, total: steps done, and of the whole run.
        loss: of this step, in nats.
        norm: global gradient norm before clipping.
        lr: learning rate of this step.
        tokens: tokens that the run has computed so far.
        seconds: since the run began or was resumed.
        scores: what an evaluation after this step found, by name; empty without one.
    """

    step: int
    total: int
    loss: float
    norm: float
    lr: float
    tokens: int
    seconds: float
    scores: dict[str, float]


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
