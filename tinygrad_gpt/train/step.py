"""One optimiser step: accumulate, check, clip, update."""

import math
from collections.abc import Callable, Sequence

from tinygrad_gpt.errors import NonFiniteError
from tinygrad_gpt.nn import Module
from tinygrad_gpt.nn.recompute import dropout_state
from tinygrad_gpt.optim import AdamW, clip_grad_norm
from tinygrad_gpt.tensor import Tensor
from tinygrad_gpt.train.memory import memory_is_enough
from tinygrad_gpt.train.nonfinite import find_non_finite

__all__ = ["train_step"]


def train_step(losses: Sequence[Callable[[], Tensor]], optimizer: AdamW, max_norm: float, where: str,
               model: Module | None = None) -> tuple[float, float]:
    """Update once with the mean gradient of several losses; each is computed only when its turn comes.

    If the loss or the gradient is not a finite number, nothing is updated, and the step is run again with the same
    dropout masks to find the op that is to blame.

    Args:
        losses: functions that run one micro-batch forward and return its loss (), the same when called again.
        optimizer: its parameters are updated and their gradients left in place.
        max_norm: gradients are scaled to at most this global norm.
        where: what the error message says about the place, such as "step 7".
        model: what the losses run; the error message names its layers.

    Returns:
        The mean loss and the gradient norm before clipping.

    Raises:
        NonFiniteError: "loss is nan (step 7): nothing was updated; forward, op 'linear' in h.3.mlp.c_fc
            (tinygrad_gpt/nn/layers.py:34) is the first to give nan, …, in data rows 2 of 8; …".
        ResourceError: "out of memory (step 7): nothing was updated; …".
    """
    turn_back = dropout_state(model or Module())
    optimizer.zero_grad()
    total = 0.0
    with memory_is_enough(where):
        for compute in losses:
            loss = compute() * (1 / len(losses))
            loss.backward()
            total += loss.item()
        norm = clip_grad_norm(optimizer.parameters, max_norm)
    for name, value in (("loss", total), ("gradient norm", norm)):
        if not math.isfinite(value):
            turn_back()
            found = find_non_finite(losses, optimizer.parameters, model)
            optimizer.zero_grad()
            raise NonFiniteError(f"{name} is {value} ({where}): nothing was updated; {found}; "
                                 "lower the learning rate, or look for bad values in the data")
    optimizer.step()
    return total, norm
