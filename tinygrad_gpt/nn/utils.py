"""The global norm of gradients, and clipping by it: `torch.nn.utils`."""

import math
from collections.abc import Iterable

import numpy as np

from tinygrad_gpt.backend import Array, backend_of
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import NonFiniteError
from tinygrad_gpt.ops.cuda.launch import Kernels, accumulator
from tinygrad_gpt.ops.cuda.many_arrays import one_launch, spans

__all__ = ["clip_grad_norm_", "grad_norm", "grad_squares", "scale_gradients"]

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


def _norm_of(parameters, p):
    """The norm of order p of all gradients together, by the norms of each."""
    norms = [float(backend_of(g).xp.linalg.norm(g.reshape(-1), p))
             for gradients in _gradients(parameters) for g in gradients if g.size]
    return float(np.linalg.norm(norms, p)) if norms else 0.0


def scale_gradients(parameters: Iterable[Tensor], scale: float) -> None:
    """Multiply all gradients by a number, in place."""
    for gradients in _gradients(parameters):
        if one_launch(gradients):
            work = spans(backend_of(gradients[0]), tuple(g.size for g in gradients))
            KERNELS.launch("scale_all", gradients[0], len(work), gradients, work, float(scale))
        else:
            gradients[0] *= scale


def clip_grad_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0,
                    error_if_nonfinite: bool = False) -> Tensor:
    """Scale all gradients so that their global norm is at most ``max_norm``; returns the norm () before.

    If that is not finite, the gradients stay as they are, so that the reason can be looked for.

    Args:
        parameters: tensors, or one; those without a gradient count for nothing.
        max_norm: largest norm.
        norm_type: p of the norm (Σ |g|^p)^(1/p); infinity for the largest absolute value.
        error_if_nonfinite: whether a norm that is not finite is an error.

    Raises:
        NonFiniteError: "clip_grad_norm_: the norm is nan; …".

    Source: Pascanu et al. 2013, arXiv:1211.5063; the 1e-6 is torch's, against division by zero.
    """
    parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    norm = grad_norm(parameters) if norm_type == 2 else _norm_of(parameters, float(norm_type))
    if error_if_nonfinite and not math.isfinite(norm):
        raise NonFiniteError(f"clip_grad_norm_: the norm is {norm}; look for the gradient that is not finite")
    scale = max_norm / (norm + 1e-6)
    if math.isfinite(norm) and scale < 1:
        scale_gradients(parameters, scale)
    dtype = next((p.grad.data.dtype for p in parameters if p.grad is not None), np.float32)
    return Tensor(np.asarray(norm, dtype))
