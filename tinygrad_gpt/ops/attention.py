"""Scaled dot-product attention, causal or full, with padding and dropout."""

import math

from tinygrad_gpt.engine import op
from tinygrad_gpt.errors import ShapeError

__all__ = ["attention", "merge_heads", "self_attention", "split_heads", "visible_keys"]


def visible_keys(xp, n_queries, n_keys, padding, causal):
    """Bool, broadcasts to (B, H, n_queries, n_keys): the keys that a query sees; the last query is at the last key."""
    visible = xp.tri(n_queries, n_keys, n_keys - n_queries if causal else n_keys, dtype=bool)
    return visible if padding is None else visible & padding.reshape(len(padding), 1, -1, n_keys)


def _attention_samples(r):
    q, k, v = r.normal(2, 2, 3, 4), r.normal(2, 2, 3, 4), r.normal(2, 2, 3, 4)
    n = 130  # of the fast form two tiles, and what it keeps of a short text is made again
    long = r.normal(1, 1, n, 2), r.normal(1, 1, n, 2)
    return [(q, k, v), (q, k, v, {"causal": False}), (q, k, v, r.padding(2, 3)),
            (q, k, v, r.mask(2, 3, 3)),
            (q, k, v, r.padding(2, 3), r.mask(2, 2, 3, 3), {"p": 0.25}),
            (r.normal(1, 2, 2, 3), r.normal(1, 2, 5, 3), r.normal(1, 2, 5, 3)),
            (r.normal(1, 1, 3, 2), *long), (r.normal(1, 1, n, 2), *long),
            (r.normal(1, 1, n, 2), *long, {"causal": False}),
            (r.normal(1, 1, n, 2), *long, r.padding(1, n), r.mask(1, 1, n, n), {"p": 0.25})]


def _check_heads(q, k, v, padding=None, keep=None, **_):
    if q.ndim != 4 or k.shape != v.shape or q.shape[:2] != k.shape[:2] or q.shape[-1] != k.shape[-1]:
        raise ShapeError(f"op 'attention': q is {q.shape}, k is {k.shape}, v is {v.shape}; "
                         "expected (B, H, n, D), (B, H, m, D), (B, H, m, D)")
    (batch, _, n), m = q.shape[:3], k.shape[2]
    if padding is not None and padding.shape not in ((batch, m), (batch, n, m)):
        raise ShapeError(f"op 'attention': padding is {padding.shape} but k has {(batch, m)}")
    _check_keep("attention", keep, (*q.shape[:3], m))


def _check_keep(name, keep, shape):
    if keep is not None and keep.shape != shape:
        raise ShapeError(f"op '{name}': keep is {keep.shape}, expected {shape}, a value for each weight")


@op(samples=_attention_samples,
    errors=lambda r: [((r.normal(1, 1, 2, 3), r.normal(1, 1, 2, 4), r.normal(1, 1, 2, 4)),
                       "op 'attention': q is (1, 1, 2, 3), k is (1, 1, 2, 4), v is (1, 1, 2, 4)"),
                      ((r.normal(1, 1, 2, 3), r.normal(1, 1, 2, 3), r.normal(1, 1, 2, 3), r.mask(1, 3)),
                       "padding is (1, 3) but k has (1, 2)"),
                      ((*(r.normal(1, 2, 2, 3) for _ in range(3)), None, r.mask(1, 1, 2, 2)),
                       "keep is (1, 1, 2, 2), expected (1, 2, 2, 2)")],
    check=_check_heads)
def attention(xp, q, k, v, padding=None, keep=None, *, causal=True, p=0.0):
    """Each query's average of the values, weighted by the softmax of its products with the keys.

    Forward:  S = q kᵀ / √D,  A = softmax(S) over the keys that a query sees, 0 elsewhere,  U = A ⊙ keep / (1 − p),
              y = U v
    Gradient: v̄ = Uᵀ ȳ,  Ū = ȳ vᵀ,  Ā = Ū ⊙ keep / (1 − p),  S̄ = A ⊙ (Ā − Σ Ā ⊙ A),
              q̄ = S̄ k / √D,  k̄ = S̄ᵀ q / √D
    Shapes:   q (B, H, n, D), k and v (B, H, m, D), padding (B, m) or (B, n, m) bool or None: which keys exist,
              keep (B, H, n, m) bool or None -> y (B, H, n, D)
    Saves:    q, k, v, A, U, keep
    Source:   Vaswani et al. 2017, arXiv:1706.03762
    """
    scale = 1 / math.sqrt(q.shape[-1] or 1)
    visible = visible_keys(xp, q.shape[2], k.shape[2], padding, causal)
    S = xp.where(visible, q @ k.swapaxes(-1, -2) * scale, float(xp.finfo(q.dtype).min))  # (B, H, n, m)
    E = xp.exp(S - S.max(axis=-1, keepdims=True)) * visible
    A = E / xp.maximum(E.sum(axis=-1, keepdims=True), 1)  # the largest E is 1, but a query that sees no key has 0
    U = A if keep is None else A * keep * (1 / (1 - p))

    def grads(g):
        v_grad = U.swapaxes(-1, -2) @ g  # y = U v
        U_grad = g @ v.swapaxes(-1, -2)  # y = U v
        A_grad = U_grad if keep is None else U_grad * keep * (1 / (1 - p))  # U = A ⊙ keep / (1 − p)
        S_grad = A * (A_grad - (A_grad * A).sum(axis=-1, keepdims=True))  # A = softmax(S)
        q_grad = scale * (S_grad @ k)  # S = q kᵀ / √D
        k_grad = scale * (S_grad.swapaxes(-1, -2) @ q)  # S = q kᵀ / √D
        return q_grad, k_grad, v_grad, None, None  # y = attention(q, k, v)

    return U @ v, grads


def split_heads(x, n_head, parts=3):
    """Views (B, H, T, D) of the equal parts, such as queries, keys and values, of x (B, T, parts · C)."""
    batch, length, width = x.shape
    return x.reshape(batch, length, parts, n_head, width // (parts * n_head)).transpose((2, 0, 3, 1, 4))


def merge_heads(y):
    """(B, H, T, D) -> (B, T, H·D)."""
    batch, n_head, length, size = y.shape
    return y.swapaxes(1, 2).reshape(batch, length, n_head * size)


def _self_attention_samples(r):
    return [(r.normal(2, 3, 12), {"n_head": 2}), (r.normal(2, 3, 12), {"n_head": 1, "causal": False}),
            (r.normal(2, 3, 12), r.padding(2, 3), {"n_head": 2}),
            (r.normal(2, 3, 12), r.padding(2, 3), r.mask(2, 2, 3, 3), {"n_head": 2, "p": 0.25}),
            (r.normal(1, 130, 6), {"n_head": 2}),
            (r.normal(1, 130, 6), {"n_head": 1, "causal": False}),
            (r.normal(1, 130, 6), r.padding(1, 130), r.mask(1, 2, 130, 130),
             {"n_head": 2, "p": 0.25})]


def _check_width(qkv, padding=None, keep=None, *, n_head, **_):
    if qkv.ndim != 3 or qkv.shape[-1] % (3 * n_head):
        raise ShapeError(f"op 'self_attention': last axis of qkv is {qkv.shape[-1]}, not a multiple of "
                         f"3 · n_head = {3 * n_head} (qkv is {qkv.shape}, expected (B, T, 3C))")
    _check_keep("self_attention", keep, (len(qkv), n_head, qkv.shape[1], qkv.shape[1]))


@op(samples=_self_attention_samples,
    errors=lambda r: [((r.normal(2, 3, 10), {"n_head": 2}), "is 10, not a multiple of 3 · n_head = 6"),
                      ((r.normal(2, 3, 12), None, r.mask(2, 1, 3, 3), {"n_head": 2}),
                       "keep is (2, 1, 3, 3), expected (2, 2, 3, 3)")],
    check=_check_width)
def self_attention(xp, qkv, padding=None, keep=None, *, n_head, causal=True, p=0.0):
    """Attention of a sequence to itself, over all heads, from one array that holds queries, keys and values.

    Forward:  q, k, v = heads of qkv,  y = heads of attention(q, k, v), side by side
    Gradient: qkv̄ = (q̄, k̄, v̄) of `attention`, side by side
    Shapes:   qkv (B, T, 3C), padding (B, T) bool or None, keep (B, H, T, T) bool or None -> y (B, T, C)
    Saves:    qkv, q, k, v, A, U, keep
    Source:   Vaswani et al. 2017; the layout of qkv is GPT-2's c_attn
    """
    q, k, v = split_heads(qkv, n_head)
    y, attention_grads = attention.function(xp, q, k, v, padding, keep, causal=causal, p=p)

    def grads(g):
        (g_heads,) = split_heads(g, n_head, 1)  # y = heads, side by side
        q_grad, k_grad, v_grad, *_ = attention_grads(g_heads)  # heads = attention(q, k, v)
        heads_grad = xp.stack((q_grad, k_grad, v_grad))  # q, k, v = heads of qkv: (3, B, H, T, D)
        return heads_grad.transpose((1, 3, 0, 2, 4)).reshape(qkv.shape), None, None  # heads = qkv in (3, B, H, T, D)

    return merge_heads(y), grads
