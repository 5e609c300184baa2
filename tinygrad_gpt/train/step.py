"""One optimiser step: accumulate, check, clip, update."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import NonFiniteError
from tinygrad_gpt.nn import Module
from tinygrad_gpt.nn.recompute import dropout_state
from tinygrad_gpt.nn.utils import grad_squares, scale_gradients
from tinygrad_gpt.optim import AdamW
from tinygrad_gpt.parallel.gradients import Gradients
from tinygrad_gpt.train.loss_scale import LossScale
from tinygrad_gpt.train.memory import memory_is_enough
from tinygrad_gpt.train.nonfinite import find_non_finite, first_fault

__all__ = ["train_step"]


def train_step(losses: Sequence[Callable[[], Tensor]], optimizer: AdamW, max_norm: float, where: str,
               model: Module | None = None, loss_scale: LossScale | None = None,
               gradients: Gradients | None = None) -> tuple[float, float]:
    """Update once with the mean gradient of several losses; each is computed only when its turn comes.

    A device is waited for once, when loss and norm are read. If one of them is not a finite number, nothing is updated,
    and the step is run again with the same dropout masks: in float16 with a smaller loss scale, else (or if that does
    not help) to find the op that is to blame.

    Args:
        losses: functions that run one micro-batch forward and return its loss (), the same when called again; means
            over different numbers of tokens need `batch.relative_counts`.
        optimizer: its parameters are updated and their gradients left in place.
        max_norm: gradients are scaled to at most this global norm.
        where: what the error message says about the place, such as "step 7".
        model: what the losses run; the error message names its layers.
        loss_scale: of a run in float16.
        gradients: of the processes that train together, each with its own losses; None: this one is alone.

    Returns:
        The mean loss and the gradient norm before clipping, over all processes.

    Raises:
        NonFiniteError: "loss is nan (step 7): nothing was updated; forward, op 'linear' in h.3.mlp.c_fc
            (tinygrad_gpt/nn/layers.py:34) is the first to give nan, …, in data rows 2 of 8; …".
        ResourceError: "out of memory (step 7): nothing was updated; …".
    """
    restore, gradients = dropout_state(model or Module()), gradients or Gradients()
    # An overflow of float16, which a smaller loss scale cures, is no warning.
    overflow: Literal["ignore"] | None = "ignore" if loss_scale else None
    while True:
        factor = loss_scale.value if loss_scale else 1.0
        with memory_is_enough(where), np.errstate(over=overflow, invalid=overflow):
            loss, norm = _gradients(losses, optimizer, factor, gradients)
        if math.isfinite(loss) and math.isfinite(norm):
            break
        restore()
        if not (loss_scale and math.isfinite(loss) and loss_scale.shrink()):
            found = gradients.group.everyone(find_non_finite(losses, optimizer.parameters, model))
            optimizer.zero_grad()
            bad, value = ("gradient norm", norm) if math.isfinite(loss) else ("loss", loss)
            raise NonFiniteError(f"{bad} is {value} ({where}): nothing was updated; {first_fault(found)}; "
                                 "lower the learning rate, or look for bad values in the data")
    clip = min(1.0, max_norm / (norm + 1e-6)) / factor  # clipping, and the loss scale undone, in one product
    if clip != 1:
        scale_gradients(optimizer.parameters, clip)
    optimizer.step()
    if loss_scale:
        loss_scale.grow()
    return loss, norm


def _gradients(losses, optimizer, factor, gradients):
    """Make the gradients of the mean loss times a factor; that loss and their norm, both without the factor."""
    optimizer.zero_grad()
    gradients.begin()
    for number, compute in enumerate(losses, start=1):
        gradients.backward(compute() * (factor / (len(losses) * gradients.group.size)), last=number == len(losses))
    values = gradients.finish()
    backend = backend_of(values[0])
    read = backend.to_numpy(backend.xp.stack([*values, *grad_squares(optimizer.parameters)]))  # waits
    loss, squares = sum(map(float, read[:len(values)])), float(sum(read[len(values):]))
    return loss / factor, math.sqrt(squares) / factor
