"""The batches of a training step, and the part of each that one process computes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tinygrad_gpt.backend import default_backend
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.models.gpt2 import place_dropout
from tinygrad_gpt.nn import Module
from tinygrad_gpt.parallel.group import Group

__all__ = ["Batch", "losses_of", "relative_counts"]


@dataclass(frozen=True)
class Batch:
    """Rows that a step learns from together; any part of them can be computed alone.

    Args:
        size: number of rows.
        counts: ``counts(rows)`` says how much each mean of the loss is a mean over, in a part of the rows.
        loss: ``loss(rows, *factors)`` runs the model on a part of the rows and returns the sum () of its means, each
            times its factor; the same when it is called again.
    """

    size: int
    counts: Callable[[slice], tuple[float, ...]]
    loss: Callable[..., Tensor]


def relative_counts(counts: Sequence[float]) -> list[float]:
    """The counts divided by their mean: factors with which the means over parts average to the mean over the whole.

    `train_step` averages its losses. If each is a mean over, say, tokens, and the numbers of tokens differ, each must
    be multiplied by its relative count to give the step of one large batch.

    Args:
        counts: how much each loss is a mean over, 0 or above.
    """
    mean = sum(counts) / len(counts)
    return [count / mean if mean else 0.0 for count in counts]


def losses_of(batches: Sequence[Batch], group: Group, model: Module) -> list[Callable[[], Tensor]]:
    """What this process computes of a step, for `train_step`: its rows of each batch.

    The mean of these losses over the batches and the ranks is the mean over all rows of the step, and the dropout masks
    are the rows of those of a whole batch: the step is the same in any number of processes.
    """
    parts = [(batch, rows) for batch in batches for rows in group.slices(batch.size)]
    means = zip(*(batch.counts(rows) for batch, rows in parts), strict=True)  # the counts of each mean of the loss
    factors = [*zip(*map(relative_counts, means), strict=True)][group.rank::group.size]
    return [_loss_of(number, batch, group.own(batch.size), own, model)
            for number, (batch, own) in enumerate(zip(batches, factors, strict=True))]


def _loss_of(number: int, batch: Batch, rows: slice, factors: tuple[float, ...],
             model: Module) -> Callable[[], Tensor]:
    def loss() -> Tensor:
        if not any(factors) and rows != slice(0, batch.size):  # no rows, or none of their tokens counts
            return Tensor(default_backend().from_numpy(np.zeros((), np.float32)))
        place_dropout(model, number, rows)
        return batch.loss(rows, *factors)

    return loss
