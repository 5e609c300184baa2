"""Losses with PyTorch's arguments, as functions of `functional` and as modules; compositions of ops."""

from typing import Any

import numpy as np

from tinygrad_gpt import ops
from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.engine.operators import raw
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import ShapeError, UsageError
from tinygrad_gpt.nn.module import Module

__all__ = ["BCELoss", "BCEWithLogitsLoss", "CrossEntropyLoss", "MSELoss", "binary_cross_entropy",
           "binary_cross_entropy_with_logits", "cross_entropy", "mse_loss"]

REDUCTIONS = ("mean", "sum", "none")


def cross_entropy(input: Tensor, target: Any, weight: Tensor | None = None, ignore_index: int = -100,
                  reduction: str = "mean", label_smoothing: float = 0.0) -> Tensor:
    """Negative log-likelihood of the targets.

    Args:
        input: logits (V), (N, V), or (N, V, ...) with the classes at axis 1.
        target: classes, integers of the shape of ``input`` without that axis.
        weight: of each class, (V).
        ignore_index: the target of rows that do not count.
        reduction: "mean" over what counts, weighted, "sum", or "none".
        label_smoothing: share of the probability that is spread over all classes.

    Source: torch.nn.functional.cross_entropy; where no row counts the mean is 0, PyTorch's is NaN.
    """
    if input.ndim > 2:
        input = input.permute(0, *range(2, input.ndim), 1)  # (N, ..., V)
    settings: dict[str, Any] = {"ignore_index": ignore_index, "label_smoothing": label_smoothing}
    mean = ops.cross_entropy(input, target, weight, **settings)
    if _known(reduction) == "mean":
        return mean
    xp, targets, log_p = backend_of(input.data).xp, raw(target), ops.log_softmax(input)
    counted = targets != ignore_index
    one_hot = xp.where(counted, targets, 0)[..., None] == xp.arange(input.shape[-1])
    q = (1 - label_smoothing) * one_hot + label_smoothing / input.shape[-1]
    q = xp.where(counted[..., None], q * (1 if weight is None else raw(weight)), 0).astype(input.dtype)
    return _reduced(-ops.where(q != 0, log_p * q, 0.0).sum(axis=-1), reduction)


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Squared difference, of tensors of one shape."""
    _check_shapes("mse_loss", input, target)
    difference = input - target
    return _reduced(difference * difference, reduction)


def binary_cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None,
                         reduction: str = "mean") -> Tensor:
    """Negative log-likelihood of targets from 0 to 1 under probabilities of their shape; logarithms end at −100."""
    _check_shapes("binary_cross_entropy", input, target)
    least = np.exp(np.float32(-100))
    loss = -(target * ops.log(ops.maximum(input, least)) + (1.0 - target) * ops.log(ops.maximum(1.0 - input, least)))
    return _reduced(loss if weight is None else loss * weight, reduction)


def binary_cross_entropy_with_logits(input: Tensor, target: Tensor, weight: Tensor | None = None,
                                     reduction: str = "mean", pos_weight: Tensor | None = None) -> Tensor:
    """The same of logits; ``pos_weight`` multiplies the part of target 1."""
    _check_shapes("binary_cross_entropy_with_logits", input, target)
    softplus = ops.logsumexp(ops.stack(-input, input * 0.0), axis=0)  # ln(1 + e^−x) = −ln σ(x)
    positive = target if pos_weight is None else target * pos_weight
    loss = (1.0 - target) * input + (positive + (1.0 - target)) * softplus
    return _reduced(loss if weight is None else loss * weight, reduction)


def _known(reduction: str) -> str:
    if reduction not in REDUCTIONS:
        raise UsageError(f"reduction is {reduction!r:.40}; choose {', '.join(REDUCTIONS)}")
    return reduction


def _reduced(values: Tensor, reduction: str) -> Tensor:
    return {"mean": values.mean, "sum": values.sum, "none": lambda: values}[_known(reduction)]()


def _check_shapes(name: str, input: Tensor, target: Tensor) -> None:
    if input.shape != target.shape:
        raise ShapeError(f"{name}: input is {input.shape} but target is {target.shape}")


class _Loss(Module):
    """A loss with its settings; ``weight`` and ``pos_weight`` are buffers."""

    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(self, reduction: str = "mean"):
        self.reduction = _known(reduction)


class MSELoss(_Loss):
    """`mse_loss` as a module."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return mse_loss(input, target, self.reduction)


class CrossEntropyLoss(_Loss):
    """`cross_entropy` as a module."""

    def __init__(self, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean",
                 label_smoothing: float = 0.0):
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return cross_entropy(input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing)


class BCELoss(_Loss):
    """`binary_cross_entropy` as a module."""

    def __init__(self, weight: Tensor | None = None, reduction: str = "mean"):
        super().__init__(reduction)
        self.register_buffer("weight", weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return binary_cross_entropy(input, target, self.weight, self.reduction)


class BCEWithLogitsLoss(_Loss):
    """`binary_cross_entropy_with_logits` as a module."""

    def __init__(self, weight: Tensor | None = None, reduction: str = "mean", pos_weight: Tensor | None = None):
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return binary_cross_entropy_with_logits(input, target, self.weight, self.reduction, self.pos_weight)
