"""Clipping of gradients by their global norm."""

import math
from collections.abc import Iterable

from tinygrad_gpt.backend import Array, backend_of
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.ops.cuda.launch import Kernels, accumulator
from tinygrad_gpt.optim.many_arrays import one_launch, spans

__all__ = ["clip_grad_norm", "grad_norm", "grad_squares", "scale_gradients"]

KERNELS = Kernels("clip")


def _gradients(parameters):
    """Gradients in groups: those that one launch of a kernel can process together, each other one alone."""
    groups: dict[object, list] = {}
    for i, parameter in enumerate(parameters):
        if parameter.grad is not None:
            g = parameter.grad.data
            groups.setdefault((type(g), g.dtype) if one_launch([g]) else i, []).append(g)
    return groups.values()


def grad_squares(parameters: Iterable[Tensor]) -> list[Array]:
    """Sums () of the squares of gradients, on their device: nothing waits for them."""
    squares = []
    for gradients in _gradients(parameters):
        backend, g = backend_of(gradients[0]), gradients[0].reshape(-1)
        if one_launch(gradients):
            work = spans(backend, tuple(g.size for g in gradients))
            sums = backend.xp.empty(len(work), dtype=accumulator(g.dtype))
            KERNELS.launch("square_sums", g, len(work), gradients, work, sums)
            squares.append(sums.sum())
        else:
            squares.append(backend.xp.dot(g, g))
    return squares


def grad_norm(parameters: Iterable[Tensor]) -> float:
    """Euclidean norm of all gradients together."""
    return math.sqrt(float(sum(grad_squares(parameters))))  # summed where they are: a device is waited for once


def scale_gradients(parameters: Iterable[Tensor], scale: float) -> None:
    """Multiply all gradients by a number, in place."""
    for gradients in _gradients(parameters):
        if one_launch(gradients):
            work = spans(backend_of(gradients[0]), tuple(g.size for g in gradients))
            KERNELS.launch("scale_all", gradients[0], len(work), gradients, work, float(scale))
        else:
            gradients[0] *= scale


def clip_grad_norm(parameters: Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients so that their global norm is at most ``max_norm``; returns the norm before.

    If that is not finite, the gradients stay as they are, so that the reason can be looked for.

    Source: Pascanu et al. 2013, arXiv:1211.5063; the 1e-6 is torch's, against division by zero.
    """
    parameters = list(parameters)
    norm = grad_norm(parameters)
    scale = max_norm / (norm + 1e-6)
    if math.isfinite(norm) and scale < 1:
        scale_gradients(parameters, scale)
    return norm
