"""Scaled dot-product attention, causal or full, with padding and dropout."""

import math

from tinygrad_gpt.autograd import op, raw
from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.errors import ShapeError
from tinygrad_gpt.ops.dropout import dropout
from tinygrad_gpt.ops.elementwise import where
from tinygrad_gpt.ops.matmul import matmul
from tinygrad_gpt.ops.shape import reshape, transpose
from tinygrad_gpt.ops.softmax import softmax

__all__ = ["attend", "attention", "merge_heads", "self_attention", "split_heads"]


def allowed_keys(xp, n_queries, n_keys, padding, causal):
    """Bool mask, broadcast to (B, H, n_queries, n_keys): which keys a query may see; None if all.

    The last query stands at the last key, so that the same mask serves cached decoding, where the
    queries are the newest positions. ``padding`` (B, n_keys) is True at real tokens.
    """
    allowed = xp.tri(n_queries, n_keys, n_keys - n_queries, dtype=bool) if causal and n_queries > 1 else None
    if padding is not None:
        padding = padding[:, None, None, :]
        allowed = padding if allowed is None else allowed & padding
    return allowed


def attend(xp, q, k, v, allowed, keep, p):
    """The one attention function of training and decoding: result (B, H, n, D) and weights (B, H, n, m).

    A query that may see no key has the result 0.
    """
    bmm = backend_of(q).bmm
    weights = bmm(q * (1 / math.sqrt(q.shape[-1])), k.swapaxes(-1, -2))  # (B, H, n, m)
    if allowed is not None:
        xp.copyto(weights, -math.inf, where=xp.logical_not(allowed))
    largest = weights.max(axis=-1, keepdims=True)
    finfo = xp.finfo(weights.dtype)
    weights -= xp.maximum(largest, float(finfo.min))  # a row of −∞ stays so, without ∞ − ∞
    xp.exp(weights, out=weights)
    weights /= xp.maximum(weights.sum(axis=-1, keepdims=True), float(finfo.tiny))
    used = weights if keep is None else weights * keep * (1 / (1 - p))
    return bmm(used, v), weights


def attend_grads(xp, g, q, k, v, weights, keep, p):
    """Gradients of q, k and v, each (B, H, n or m, D), given ``g`` (B, H, n, D)."""
    bmm, scale = backend_of(g).bmm, 1 / math.sqrt(q.shape[-1])
    used = weights if keep is None else weights * keep * (1 / (1 - p))
    grad_v = bmm(used.swapaxes(-1, -2), g)  # y = used v
    d = bmm(g, v.swapaxes(-1, -2))  # gradient of `used`
    if keep is not None:
        d *= keep
        d *= 1 / (1 - p)
    d -= (d * weights).sum(axis=-1, keepdims=True)  # softmax
    d *= weights
    d *= scale  # weights = softmax(q kᵀ scale)
    return bmm(d, k), bmm(d.swapaxes(-1, -2), q), grad_v


def _attention_composed(q, k, v, padding=None, keep=None, *, causal=True, p=0.0):
    xp = backend_of(q.data).xp
    scores = matmul(q, transpose(k, axes=(0, 1, 3, 2))) * (1 / math.sqrt(q.shape[-1]))
    allowed = allowed_keys(xp, q.shape[-2], k.shape[-2], raw(padding), causal)
    if allowed is not None:
        scores = where(allowed, scores, float(xp.finfo(scores.dtype).min))
    weights = softmax(scores)
    if allowed is not None:  # a query that may see no key has the result 0
        weights = where(allowed, weights, 0.0)
    if keep is not None:
        weights = dropout(weights, keep, p=p)
    return matmul(weights, v)


def _attention_samples(r):
    q, k, v = r.normal(2, 2, 3, 4), r.normal(2, 2, 3, 4), r.normal(2, 2, 3, 4)
    return [(q, k, v), (q, k, v, {"causal": False}), (q, k, v, r.padding(2, 3)),
            (q, k, v, r.padding(2, 3), r.mask(2, 2, 3, 3), {"p": 0.25}),
            (r.normal(1, 2, 2, 3), r.normal(1, 2, 5, 3), r.normal(1, 2, 5, 3))]


@op(samples=_attention_samples,
    errors=lambda r: [((r.normal(1, 1, 2, 3), r.normal(1, 1, 2, 4), r.normal(1, 1, 2, 4)),
                       "op 'attention': q is (1, 1, 2, 3), k is (1, 1, 2, 4), v is (1, 1, 2, 4)"),
                      ((r.normal(1, 1, 2, 3), r.normal(1, 1, 2, 3), r.normal(1, 1, 2, 3), r.mask(1, 3)),
                       "padding is (1, 3) but k has (1, 2)")],
    composed=_attention_composed)
def attention(xp, q, k, v, padding=None, keep=None, *, causal=True, p=0.0):
    """Each query's average of the values, weighted by the softmax of its products with the keys.

    Forward:  A = softmax(mask(q kᵀ / √D)),  y = (A ⊙ keep / (1 − p)) v
    Gradient: v̄ = Uᵀ ȳ with U = A ⊙ keep / (1 − p),  Ā = (ȳ vᵀ) ⊙ keep / (1 − p),
              S̄ = A ⊙ (Ā − Σ Ā ⊙ A),  q̄ = S̄ k / √D,  k̄ = S̄ᵀ q / √D
    Shapes:   q (B, H, n, D), k and v (B, H, m, D), padding (B, m) bool or None, keep (B, H, n, m) bool or None
              -> y (B, H, n, D)
    Saves:    q, k, v, weights, keep
    Source:   Vaswani et al. 2017, arXiv:1706.03762
    """
    if q.ndim != 4 or k.shape != v.shape or q.shape[:2] != k.shape[:2] or q.shape[-1] != k.shape[-1]:
        raise ShapeError(f"op 'attention': q is {q.shape}, k is {k.shape}, v is {v.shape}; "
                         "expected (B, H, n, D), (B, H, m, D), (B, H, m, D)")
    if padding is not None and padding.shape != (k.shape[0], k.shape[2]):
        raise ShapeError(f"op 'attention': padding is {padding.shape} but k has {(k.shape[0], k.shape[2])}")
    y, weights = attend(xp, q, k, v, allowed_keys(xp, q.shape[2], k.shape[2], padding, causal), keep, p)

    def grads(g):
        return (*attend_grads(xp, g, q, k, v, weights, keep, p), None, None)

    return y, grads


def split_heads(qkv, n_head):
    """Views (B, H, T, D) of queries, keys and values in ``qkv`` (B, T, 3C)."""
    batch, length, width = qkv.shape
    return qkv.reshape(batch, length, 3, n_head, width // (3 * n_head)).transpose(2, 0, 3, 1, 4)


def merge_heads(y):
    """(B, H, T, D) -> (B, T, H·D)."""
    batch, n_head, length, size = y.shape
    return y.transpose(0, 2, 1, 3).reshape(batch, length, n_head * size)


def _self_attention_composed(qkv, padding=None, keep=None, *, n_head, causal=True, p=0.0):
    batch, length, width = qkv.shape
    heads = transpose(reshape(qkv, shape=(batch, length, 3, n_head, width // (3 * n_head))), axes=(2, 0, 3, 1, 4))
    y = attention(heads[0], heads[1], heads[2], padding, keep, causal=causal, p=p)
    return reshape(transpose(y, axes=(0, 2, 1, 3)), shape=(batch, length, width // 3))


def _self_attention_samples(r):
    return [(r.normal(2, 3, 12), {"n_head": 2}), (r.normal(2, 3, 12), {"n_head": 1, "causal": False}),
            (r.normal(2, 3, 12), r.padding(2, 3), r.mask(2, 2, 3, 3), {"n_head": 2, "p": 0.25})]


@op(samples=_self_attention_samples,
    errors=lambda r: [((r.normal(2, 3, 10), {"n_head": 2}), "is 10, not a multiple of 3 · n_head = 6")],
    composed=_self_attention_composed)
def self_attention(xp, qkv, padding=None, keep=None, *, n_head, causal=True, p=0.0):
    """Attention of a sequence to itself, over all heads, from one array that holds queries, keys and values.

    Forward:  q, k, v = heads of qkv,  y = heads of attention(q, k, v), side by side
    Gradient: qkv̄ = (q̄, k̄, v̄) of `attention`, side by side
    Shapes:   qkv (B, T, 3C), padding (B, T) bool or None, keep (B, H, T, T) bool or None -> y (B, T, C)
    Saves:    qkv, weights, keep
    Source:   Vaswani et al. 2017; the layout of qkv is GPT-2's c_attn
    """
    if qkv.ndim != 3 or qkv.shape[-1] % (3 * n_head):
        raise ShapeError(f"op 'self_attention': last axis of qkv is {qkv.shape[-1]}, not a multiple of "
                         f"3 · n_head = {3 * n_head} (qkv is {qkv.shape}, expected (B, T, 3C))")
    q, k, v = split_heads(qkv, n_head)
    y, weights = attend(xp, q, k, v, allowed_keys(xp, q.shape[2], k.shape[2], padding, causal), keep, p)

    def grads(g):
        batch, n, size = qkv.shape[0], qkv.shape[1], qkv.shape[2] // (3 * n_head)
        grad = xp.empty((batch, n, 3, n_head, size), dtype=g.dtype)
        per_head = g.reshape(batch, n, n_head, size).transpose(0, 2, 1, 3)  # (B, H, T, D)
        q, k, v = split_heads(qkv, n_head)
        for i, part in enumerate(attend_grads(xp, per_head, q, k, v, weights, keep, p)):
            grad[:, :, i] = part.transpose(0, 2, 1, 3)
        return grad.reshape(qkv.shape), None, None

    return merge_heads(y), grads
