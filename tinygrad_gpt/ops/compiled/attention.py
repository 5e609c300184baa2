"""Attention in the tiles of `ops/fast/attention.py`: BLAS multiplies, and the softmax is one pass over each row."""

import math

from tinygrad_gpt.backend import Array, backend_of
from tinygrad_gpt.engine import compiled
from tinygrad_gpt.ops.compiled import kernels
from tinygrad_gpt.ops.fast.attention import (
    QUERIES,
    Mask,
    Saved,
    attention_by,
    masked,
    part,
    self_attention_by,
    tiles,
)

__all__ = ["attend", "attend_grads", "attention", "self_attention"]


@compiled("attention")
def attention(xp, q, k, v, padding=None, keep=None, *, causal=True, p=0.0):
    """Op 'attention'; saves the row sums, and the exponentials of short texts only."""
    mask = masked(xp, padding, keep, causal, p, (*q.shape[:3], k.shape[2]))
    return attention_by(attend, attend_grads, xp, q, k, v, mask)


@compiled("self_attention")
def self_attention(xp, qkv, padding=None, keep=None, *, n_head, causal=True, p=0.0):
    """Op 'self_attention'; queries, keys and values are views of qkv, and so are their gradients."""
    mask = masked(xp, padding, keep, causal, p, (len(qkv), n_head, qkv.shape[1], qkv.shape[1]))
    return self_attention_by(attend, attend_grads, xp, qkv, n_head, mask)


def attend(xp, q, k, v, mask: Mask) -> tuple[Array, Saved]:
    """As `attend` in `ops/fast/attention.py`."""
    bmm, (batch, n_head, n, size) = backend_of(q).bmm, q.shape
    y = xp.empty((batch, n, n_head, size), dtype=q.dtype).transpose(0, 2, 1, 3)
    row_max, row_sum = (xp.empty((batch, n_head, n, 1), dtype=q.dtype) for _ in range(2))
    exps = []
    for at_q, at_k in tiles(q, k, mask.causal):
        e, row_max[at_q], total = _exponentials(xp, q[at_q], k[at_k], part(mask.padding, at_q, at_k), mask.causal)
        row_sum[at_q] = xp.maximum(total, 1)  # at least 1, that of the largest, unless all keys are masked
        y[at_q] = bmm(_dropped(xp, e, mask, at_q, at_k), v[at_k]) / row_sum[at_q]
        if k.shape[2] <= QUERIES:
            exps.append(e)  # of a longer text more numbers than q and k: computed again in backward
    return y, Saved(row_max, row_sum, tuple(exps))


def attend_grads(xp, qkv, g, mask: Mask, saved: Saved, grads) -> None:
    """As `attend_grads` in `ops/fast/attention.py`."""
    (q, k, v), (q_grad, k_grad, v_grad) = qkv, grads
    bmm, scale = backend_of(g).bmm, 1 / math.sqrt(q.shape[-1] or 1)
    g = g / saved.row_sum  # A = e / sum: dividing g (D wide) is cheaper than dividing e (m wide)
    for i, (at_q, at_k) in enumerate(tiles(q, k, mask.causal)):
        e = saved.exps[i] if saved.exps else _exponentials(
            xp, q[at_q], k[at_k], part(mask.padding, at_q, at_k), mask.causal)[0]
        v_grad[at_k] += bmm(_dropped(xp, e, mask, at_q, at_k).swapaxes(-1, -2), g[at_q])
        S_grad = _dropped(xp, bmm(g[at_q], v[at_k].swapaxes(-1, -2)), mask, at_q, at_k)  # so far of A · sum
        kernels.softmax_grad(S_grad, e, xp.ascontiguousarray(saved.row_sum[at_q]))
        q_grad[at_q] = bmm(S_grad, k[at_k]) * scale
        k_grad[at_k] += bmm(S_grad.swapaxes(-1, -2), q[at_q] * scale)


def _exponentials(xp, q, k, visible, causal):
    """e^(S − max S) (..., n, m) of some queries and keys, 0 where a query does not see a key; max S; and the sums."""
    scores = backend_of(q).bmm(q * (1 / math.sqrt(q.shape[-1] or 1)), k.swapaxes(-1, -2))
    row_max, row_sum = (xp.empty((*scores.shape[:-1], 1), dtype=scores.dtype) for _ in range(2))
    kernels.softmax(scores, visible, causal, row_max, row_sum)
    return scores, row_max, row_sum


def _dropped(xp, x, mask, at_q, at_k):
    """A new x · keep / (1 − p) of a tile; x itself without dropout."""
    if mask.keep is None:
        return x
    y = xp.empty_like(x)
    kernels.dropout(x, part(mask.keep, at_q, at_k), x.dtype.type(1 / (1 - mask.p)), y)
    return y
