"""Layers without parameters of their own, with PyTorch's arguments: `torch.nn.functional`."""

import math
from collections.abc import Sequence

import numpy as np

from tinygrad_gpt import ops
from tinygrad_gpt.backend import backend_of, is_integer
from tinygrad_gpt.engine.operators import raw
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import ShapeError, UsageError
from tinygrad_gpt.nn.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    mse_loss,
)
from tinygrad_gpt.nn.precision_casts import to_compute
from tinygrad_gpt.random import default_generator

__all__ = ["binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy", "dropout", "embedding",
           "flatten", "gelu", "layer_norm", "linear", "log_softmax", "logsigmoid", "mse_loss", "one_hot", "relu",
           "scaled_dot_product_attention", "sigmoid", "silu", "softmax", "tanh"]


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x Wᵀ + b``: x (..., n_in), weight (n_out, n_in), bias (n_out) or None -> (..., n_out)."""
    return ops.linear(to_compute(x), to_compute(weight).T, to_compute(bias))


def embedding(ids, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Rows of ``weight`` (n, C): ids (...) -> (..., C); the row ``padding_idx`` gets no gradient."""
    rows = ops.embedding(weight, ids)
    if padding_idx is None:
        return rows
    ids = np.asarray(ids) if isinstance(ids, list | tuple) else raw(ids)
    return ops.where((ids == padding_idx % weight.shape[0])[..., None], rows.detach(), rows)


def layer_norm(x: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None,
               eps: float = 1e-5) -> Tensor:
    """Normalise the last axes to zero mean and unit variance, then scale and shift.

    Args:
        x: (..., *normalized_shape).
        weight, bias: (*normalized_shape); None: ones, zeros.
        eps: added to the variance.

    Raises:
        ShapeError: "layer_norm: x is (2, 3), but its last axes should be (4,)".
    """
    shape = tuple(normalized_shape)
    if not shape or x.shape[-len(shape):] != shape:
        raise ShapeError(f"layer_norm: x is {x.shape}, but its last axes should be {shape}")
    xp = backend_of(x.data).xp
    weight = Tensor(xp.ones(shape, dtype=x.dtype)) if weight is None else weight
    bias = Tensor(xp.zeros(shape, dtype=x.dtype)) if bias is None else bias
    if len(shape) == 1:
        return ops.layer_norm(x, weight, bias, eps=eps)
    as_one = (*x.shape[:-len(shape)], math.prod(shape))
    return ops.layer_norm(x.reshape(as_one), weight.reshape(-1), bias.reshape(-1), eps=eps).reshape(x.shape)


def dropout(x: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """Zero each value with probability ``p``, and scale the others; the mask comes from the default generator."""
    if not training or p == 0:
        return x
    if p == 1:
        return x * 0.0
    return ops.dropout(x, backend_of(x.data).from_numpy(default_generator.keep(p, *x.shape)), p=p)


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """Gaussian error linear unit: "none" with the normal distribution itself, "tanh" as in GPT-2."""
    if approximate not in ("none", "tanh"):
        raise UsageError(f"gelu: approximate is {approximate!r}; choose none or tanh")
    return ops.gelu(x) if approximate == "tanh" else ops.gelu_exact(x)


def relu(x: Tensor, inplace: bool = False) -> Tensor:
    """``max(x, 0)``, of any shape; ``inplace`` changes nothing."""
    return ops.relu(x)


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent, of any shape."""
    return ops.tanh(x)


def sigmoid(x: Tensor) -> Tensor:
    """``1 / (1 + e⁻ˣ)``, of any shape."""
    return ops.sigmoid(x)


def softmax(x: Tensor, dim: int) -> Tensor:
    """Exponentials along an axis, scaled to sum to one."""
    return ops.softmax(x, axis=dim)


def log_softmax(x: Tensor, dim: int) -> Tensor:
    """Logarithm of the softmax along an axis."""
    return ops.log_softmax(x, axis=dim)


def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask=None, dropout_p: float = 0.0,
                                 is_causal: bool = False, scale: float | None = None) -> Tensor:
    """The average of the values, weighted by the softmax of the products of queries and keys.

    Args:
        query, key, value: (..., n, D), (..., m, D), (..., m, E).
        attn_mask: (..., n, m) bool, True where a query sees a key, or numbers that are added to the products. A query
            that sees no key gets zeros.
        dropout_p: probability with which a weight is zeroed.
        is_causal: a query sees the keys up to its own position; not beside ``attn_mask``.
        scale: of the products; None: 1 / √D.

    Source: torch.nn.functional.scaled_dot_product_attention
    """
    if is_causal and attn_mask is not None:
        raise UsageError("scaled_dot_product_attention: both attn_mask and is_causal are given; give one of them")
    scores = query @ key.mT * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    xp, seen = backend_of(query.data).xp, raw(attn_mask)  # (..., n, m)
    if is_causal:
        seen = xp.tri(*scores.shape[-2:], dtype=bool)
    elif seen is not None and seen.dtype != bool:
        scores, seen = scores + attn_mask, seen != -math.inf
    if seen is None:
        weights = ops.softmax(scores)
    else:  # with a finite number in place of −∞ a query that sees no key gets zeros, not NaN
        weights = ops.where(seen, ops.softmax(ops.where(seen, scores, float(xp.finfo(scores.dtype).min))), 0.0)
    return dropout(weights, dropout_p) @ value


def one_hot(ids, num_classes: int = -1) -> Tensor:
    """ids (...) integers, not negative -> (..., num_classes) int64; −1: as many classes as there are in ids."""
    ids = raw(ids if isinstance(ids, Tensor) else Tensor(ids))
    if not is_integer(ids.dtype) or (ids.size and ids.min() < 0):
        raise ShapeError("one_hot: the ids must be integers of at least 0")
    n = int(ids.max()) + 1 if num_classes < 0 else num_classes
    if ids.size and int(ids.max()) >= n:
        raise ShapeError(f"one_hot: an id is {int(ids.max())}, but there are {n} classes")
    xp = backend_of(ids).xp
    return Tensor((ids[..., None] == xp.arange(n)).astype(xp.int64))


def silu(x: Tensor) -> Tensor:
    """``x σ(x)``, of any shape."""
    return x.silu()


def logsigmoid(x: Tensor) -> Tensor:
    """``ln σ(x) = −ln(1 + e^−x)``, of any shape."""
    return -(-x).softplus()


def flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The axes from ``start_dim`` to ``end_dim`` as one."""
    return x.flatten(start_dim, end_dim)
