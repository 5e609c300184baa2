"""Clipping of gradients by their global norm."""

import math
from collections.abc import Iterable

from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.tensor import Tensor

__all__ = ["clip_grad_norm", "grad_norm"]


def grad_norm(parameters: Iterable[Tensor]) -> float:
    """Euclidean norm of all gradients together."""
    squares = []
    for parameter in parameters:
        if parameter.grad is not None:
            g = parameter.grad.data.reshape(-1)
            squares.append(backend_of(g).xp.dot(g, g))
    return math.sqrt(float(sum(squares)))  # summed where they are: a device is waited for once


def clip_grad_norm(parameters: Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients so that their global norm is at most ``max_norm``; returns the norm before.

    If that is not finite, the gradients stay as they are, for whoever looks for the reason.

    Source: Pascanu et al. 2013, arXiv:1211.5063; the 1e-6 is torch's, against division by zero.
    """
    parameters = list(parameters)
    norm = grad_norm(parameters)
    scale = max_norm / (norm + 1e-6)
    if math.isfinite(norm) and scale < 1:
        for parameter in parameters:
            if parameter.grad is not None:
                g = parameter.grad.data
                g *= scale
    return norm
