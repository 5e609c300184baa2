"""Scaled dot-product attention, causal or full, with padding and dropout."""

import functools
import itertools
import math

from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.backend.precision import is_half, wide
from tinygrad_gpt.engine import op, raw
from tinygrad_gpt.errors import ShapeError
from tinygrad_gpt.ops.attention_kernels import has_kernels, launch_attend, launch_attend_grads
from tinygrad_gpt.ops.dropout import dropout
from tinygrad_gpt.ops.elementwise import where
from tinygrad_gpt.ops.matmul import matmul
from tinygrad_gpt.ops.shape import reshape, transpose
from tinygrad_gpt.ops.softmax import softmax

__all__ = ["attend", "attention", "merge_heads", "self_attention", "split_heads"]

TILE = 1 << 19  # scores that stay in the cache, the one that cores share
QUERIES = 128  # at most in a tile


def attend(xp, q, k, v, padding, causal, keep, p):
    """The one attention function of training and decoding, tile by tile: of a long text the scores are never whole.

    Args:
        q, k, v: (B, H, n, D), (B, H, m, D), (B, H, m, D).
        padding: bool (B, H, n, m), which keys a query may see at all; None: all.
        causal: does a query see only its own key and those before? The last query stands at the last key.
        keep, p: dropout mask (B, H, n, m) of the weights, or None, and its probability.

    Returns:
        The result (B, H, n, D), 0 for a query that may see no key. Of each row of scores the largest and the sum of
        the exponentials less the largest, (B, H, n, 1). Of short texts these exponentials, a tuple of tiles. With CUDA
        kernels, of each row one number only, see `launch_attend`.
    """
    if has_kernels(q):
        return launch_attend(q, k, v, padding, causal, keep, p)
    if is_half(q.dtype):  # decoding, which calls no op
        q_wide, k_wide, v_wide = (a.astype(wide(a.dtype)) for a in (q, k, v))
        y, *rest = attend(xp, q_wide, k_wide, v_wide, padding, causal, keep, p)
        return y.astype(q.dtype), *rest
    bmm, (batch, n_head, n, size) = backend_of(q).bmm, q.shape
    y = xp.empty((batch, n, n_head, size), dtype=q.dtype).transpose(0, 2, 1, 3)  # heads side by side in memory
    largest, sums = (xp.empty((batch, n_head, n, 1), dtype=q.dtype) for _ in range(2))
    tiles = []
    for rows, columns in _tiles(q, k, causal):
        allowed = _part(padding, rows, columns)
        e, largest[rows] = _exponentials(xp, q[rows], k[columns], allowed, causal)
        total = _row_sums(xp, e)  # at least 1, that of the largest, unless all keys are masked
        sums[rows] = xp.maximum(total, 1) if _may_see_none(e, allowed) else total
        tiles.append(e)
        if keep is not None:
            e = e * _part(keep, rows, columns) * (1 / (1 - p))
        y[rows] = bmm(e, v[columns]) / sums[rows]
        if k.shape[2] > QUERIES:
            tiles.clear()  # more numbers than q and k: made again in backward
    return y, largest, sums, tuple(tiles)


def attend_grads(xp, grads, q, k, v, g, largest, sums, tiles, padding, causal, keep, p):
    """Add to ``grads``, zeros of the shapes of q, k and v, their gradients, given ``g`` (B, H, n, D)."""
    bmm, scale = backend_of(g).bmm, 1 / math.sqrt(q.shape[-1] or 1)
    grad_q, grad_k, grad_v = grads
    g = g / sums  # with the weights A = e / sums, the rows of g are divided and not those of e, which are longer
    places = _tiles(q, k, causal)
    for i, (rows, columns) in enumerate(places):
        allowed = _part(padding, rows, columns)
        e = tiles[i] if tiles else _exponentials(xp, q[rows], k[columns], allowed, causal, largest[rows])[0]
        d = bmm(g[rows], v[columns].swapaxes(-1, -2))  # gradient of U
        used = e
        if keep is not None:
            kept = _part(keep, rows, columns)
            used = e * kept * (1 / (1 - p))
            d *= kept
            d *= 1 / (1 - p)
        d -= _row_sums(xp, d * e) / sums[rows]  # softmax
        d *= e
        grad_v[columns] += bmm(used.swapaxes(-1, -2), g[rows])
        grad_q[rows] = bmm(d, k[columns]) * scale
        grad_k[columns] += bmm(d.swapaxes(-1, -2), q[rows] * scale)


def _tiles(q, k, causal):
    """Pairs of index tuples, of queries and of the keys that they may see, with about `TILE` scores each.

    Short texts: several heads, or all heads of several texts, at a time, because a call costs more than its work. Long
    ones: some queries of a head, so that their scores stay in the cache, and causal ones leave out the keys behind. On
    a device one tile is all.
    """
    batch, n_head, n, _ = q.shape
    m = k.shape[2]
    if not backend_of(q).on_host:
        yield (slice(None),) * 3, (slice(None),) * 3
        return
    height = min(n, QUERIES)
    heads = max(1, TILE // max(1, height * m))
    texts, heads = max(1, heads // max(1, n_head)), min(n_head, heads)
    for text, head, row in itertools.product(range(0, batch, texts), range(0, n_head, max(1, heads)),
                                             range(0, n, max(1, height))):
        part = slice(text, text + texts), slice(head, head + heads)
        stop = max(1, m - n + min(n, row + height)) if causal else m
        yield (*part, slice(row, row + height)), (*part, slice(0, stop))


def _exponentials(xp, q, k, allowed, causal, largest=None):
    """e^(scores − largest) (..., n, m) of some queries and keys, 0 where a query may not see a key; and the largest."""
    scores = backend_of(q).bmm(q * (1 / math.sqrt(q.shape[-1] or 1)), k.swapaxes(-1, -2))
    n, m = scores.shape[-2:]
    if causal and n > 1:
        corner = scores[..., max(0, m - n):]  # all queries see the keys before it
        xp.minimum(corner, _causal_limit(xp, n, corner.shape[-1], scores.dtype), out=corner)
    if allowed is not None:
        xp.copyto(scores, -math.inf, where=xp.logical_not(allowed))
    if largest is None:
        largest = scores.max(axis=-1, keepdims=True)
        if _may_see_none(scores, allowed):  # no ∞ − ∞
            largest = xp.maximum(largest, float(xp.finfo(scores.dtype).min))
    scores -= largest
    return xp.exp(scores, out=scores), largest


@functools.lru_cache(maxsize=4)  # nearly all tiles need the same one, and making it takes a twentieth of their time
def _causal_limit(xp, n, m, dtype):
    """(n, m): ∞ where a query may see a key, −∞ where it may not; the last query stands at the last key."""
    limit = xp.full((n, m), -math.inf, dtype=dtype)
    xp.copyto(limit, math.inf, where=xp.tri(n, m, m - n, dtype=bool))
    return limit


def _may_see_none(scores, allowed):
    """May a query of these scores (..., n, m) see no key: one masked, or a causal one that stands before them all?"""
    return allowed is not None or scores.shape[-2] > scores.shape[-1]


def _row_sums(xp, e):
    """Sums (..., n, 1) over the last axis; as a product they take a quarter of the time."""
    return backend_of(e).bmm(e, xp.ones((e.shape[-1], 1), dtype=e.dtype))


def _part(mask, rows, columns):
    """What a mask (B, H, n, m) says about a tile."""
    return None if mask is None else mask[(*rows, columns[2])]


def _for_all(xp, padding, n_head, n_queries):
    """padding (B, m) as a mask (B, H, n, m), a view; None stays None."""
    if padding is None:
        return None
    batch, n_keys = padding.shape
    return xp.broadcast_to(padding[:, None, None, :], (batch, n_head, n_queries, n_keys))


def _allowed_keys(xp, n_queries, n_keys, padding, causal):
    """Bool mask, broadcast to (B, H, n_queries, n_keys): which keys a query may see; None if all."""
    allowed = xp.tri(n_queries, n_keys, n_keys - n_queries, dtype=bool) if causal and n_queries > 1 else None
    if padding is not None:
        padding = padding[:, None, None, :].copy()  # the ops that keep it do not know the tensor whose memory it is
        allowed = padding if allowed is None else allowed & padding
    return allowed


def _attention_composed(q, k, v, padding=None, keep=None, *, causal=True, p=0.0):
    xp = backend_of(q.data).xp
    scores = matmul(q, transpose(k, axes=(0, 1, 3, 2))) * (1 / math.sqrt(q.shape[-1]))
    allowed = _allowed_keys(xp, q.shape[-2], k.shape[-2], raw(padding), causal)
    if allowed is not None:
        scores = where(allowed, scores, -6e4 if is_half(scores.dtype) else float(xp.finfo(scores.dtype).min))
    weights = softmax(scores)
    if allowed is not None:  # a query that may see no key has the result 0
        weights = where(allowed, weights, 0.0)
    if keep is not None:
        weights = dropout(weights, keep, p=p)
    return matmul(weights, v)


def _attention_samples(r):
    q, k, v = r.normal(2, 2, 3, 4), r.normal(2, 2, 3, 4), r.normal(2, 2, 3, 4)
    n = QUERIES + 2  # two tiles, and what is kept of a short text is made again
    long = r.normal(1, 1, n, 2), r.normal(1, 1, n, 2)
    return [(q, k, v), (q, k, v, {"causal": False}), (q, k, v, r.padding(2, 3)),
            (q, k, v, r.padding(2, 3), r.mask(2, 2, 3, 3), {"p": 0.25}),
            (r.normal(1, 2, 2, 3), r.normal(1, 2, 5, 3), r.normal(1, 2, 5, 3)),
            (r.normal(1, 1, 3, 2), *long), (r.normal(1, 1, n, 2), *long),
            (r.normal(1, 1, n, 2), *long, {"causal": False}),
            (r.normal(1, 1, n, 2), *long, r.padding(1, n), r.mask(1, 1, n, n), {"p": 0.25})]


def _check_heads(q, k, v, padding):
    if q.ndim != 4 or k.shape != v.shape or q.shape[:2] != k.shape[:2] or q.shape[-1] != k.shape[-1]:
        raise ShapeError(f"op 'attention': q is {q.shape}, k is {k.shape}, v is {v.shape}; "
                         "expected (B, H, n, D), (B, H, m, D), (B, H, m, D)")
    if padding is not None and padding.shape != (k.shape[0], k.shape[2]):
        raise ShapeError(f"op 'attention': padding is {padding.shape} but k has {(k.shape[0], k.shape[2])}")


def _attention_cuda(xp, q, k, v, padding=None, keep=None, *, causal=True, p=0.0):
    _check_heads(q, k, v, padding)
    if not has_kernels(q):
        return attention.body((q, k, v))(xp, q, k, v, padding, keep, causal=causal, p=p)
    q, k, v = (xp.ascontiguousarray(a) for a in (q, k, v))
    padding = _for_all(xp, padding, *q.shape[1:3])
    y, log_sums = launch_attend(q, k, v, padding, causal, keep, p)

    def grads(g):
        qkv_grads = [xp.empty(a.shape, dtype=a.dtype) for a in (q, k, v)]
        launch_attend_grads(qkv_grads, q, k, v, g, y, log_sums, padding, causal, keep, p)
        return *qkv_grads, None, None

    return y, grads


@op(samples=_attention_samples,
    errors=lambda r: [((r.normal(1, 1, 2, 3), r.normal(1, 1, 2, 4), r.normal(1, 1, 2, 4)),
                       "op 'attention': q is (1, 1, 2, 3), k is (1, 1, 2, 4), v is (1, 1, 2, 4)"),
                      ((r.normal(1, 1, 2, 3), r.normal(1, 1, 2, 3), r.normal(1, 1, 2, 3), r.mask(1, 3)),
                       "padding is (1, 3) but k has (1, 2)")],
    composed=_attention_composed, cuda=_attention_cuda)
def attention(xp, q, k, v, padding=None, keep=None, *, causal=True, p=0.0):
    """Each query's average of the values, weighted by the softmax of its products with the keys.

    Forward:  A = softmax(mask(q kᵀ / √D)),  y = (A ⊙ keep / (1 − p)) v
    Gradient: v̄ = Uᵀ ȳ with U = A ⊙ keep / (1 − p),  Ā = (ȳ vᵀ) ⊙ keep / (1 − p),
              S̄ = A ⊙ (Ā − Σ Ā ⊙ A),  q̄ = S̄ k / √D,  k̄ = S̄ᵀ q / √D
    Shapes:   q (B, H, n, D), k and v (B, H, m, D), padding (B, m) bool or None, keep (B, H, n, m) bool or None
              -> y (B, H, n, D)
    Saves:    q, k, v, largest, sums, tiles, padding, keep
    Source:   Vaswani et al. 2017, arXiv:1706.03762
    """
    _check_heads(q, k, v, padding)
    padding = _for_all(xp, padding, *q.shape[1:3])
    y, largest, sums, tiles = attend(xp, q, k, v, padding, causal, keep, p)

    def grads(g):
        qkv_grads = [xp.zeros_like(a) for a in (q, k, v)]
        attend_grads(xp, qkv_grads, q, k, v, g, largest, sums, tiles, padding, causal, keep, p)
        return *qkv_grads, None, None

    return y, grads


def split_heads(x, n_head, parts=3):
    """Views (B, H, T, D) of the equal parts, such as queries, keys and values, of x (B, T, parts · C)."""
    batch, length, width = x.shape
    return x.reshape(batch, length, parts, n_head, width // (parts * n_head)).transpose(2, 0, 3, 1, 4)


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
            (r.normal(2, 3, 12), r.padding(2, 3), {"n_head": 2}),
            (r.normal(2, 3, 12), r.padding(2, 3), r.mask(2, 2, 3, 3), {"n_head": 2, "p": 0.25}),
            (r.normal(1, QUERIES + 2, 6), {"n_head": 2}),
            (r.normal(1, QUERIES + 2, 6), {"n_head": 1, "causal": False}),
            (r.normal(1, QUERIES + 2, 6), r.padding(1, QUERIES + 2), r.mask(1, 2, QUERIES + 2, QUERIES + 2),
             {"n_head": 2, "p": 0.25})]


def _check_width(qkv, n_head):
    if qkv.ndim != 3 or qkv.shape[-1] % (3 * n_head):
        raise ShapeError(f"op 'self_attention': last axis of qkv is {qkv.shape[-1]}, not a multiple of "
                         f"3 · n_head = {3 * n_head} (qkv is {qkv.shape}, expected (B, T, 3C))")


def _self_attention_cuda(xp, qkv, padding=None, keep=None, *, n_head, causal=True, p=0.0):
    _check_width(qkv, n_head)
    qkv = xp.ascontiguousarray(qkv)
    q, k, v = split_heads(qkv, n_head)
    if not has_kernels(q):
        return self_attention.body((qkv,))(xp, qkv, padding, keep, n_head=n_head, causal=causal, p=p)
    padding = _for_all(xp, padding, *q.shape[1:3])
    y, log_sums = launch_attend(q, k, v, padding, causal, keep, p)

    def grads(g):
        qkv_grad = xp.empty(qkv.shape, dtype=qkv.dtype)
        q, k, v = split_heads(qkv, n_head)
        (g,) = split_heads(g, n_head, 1)
        launch_attend_grads(split_heads(qkv_grad, n_head), q, k, v, g, y, log_sums, padding, causal, keep, p)
        return qkv_grad, None, None

    return merge_heads(y), grads


@op(samples=_self_attention_samples,
    errors=lambda r: [((r.normal(2, 3, 10), {"n_head": 2}), "is 10, not a multiple of 3 · n_head = 6")],
    composed=_self_attention_composed, cuda=_self_attention_cuda)
def self_attention(xp, qkv, padding=None, keep=None, *, n_head, causal=True, p=0.0):
    """Attention of a sequence to itself, over all heads, from one array that holds queries, keys and values.

    Forward:  q, k, v = heads of qkv,  y = heads of attention(q, k, v), side by side
    Gradient: qkv̄ = (q̄, k̄, v̄) of `attention`, side by side
    Shapes:   qkv (B, T, 3C), padding (B, T) bool or None, keep (B, H, T, T) bool or None -> y (B, T, C)
    Saves:    qkv, largest, sums, tiles, padding, keep
    Source:   Vaswani et al. 2017; the layout of qkv is GPT-2's c_attn
    """
    _check_width(qkv, n_head)
    q, k, v = split_heads(qkv, n_head)
    padding = _for_all(xp, padding, *q.shape[1:3])
    y, largest, sums, tiles = attend(xp, q, k, v, padding, causal, keep, p)

    def grads(g):
        qkv_grad = xp.zeros(qkv.shape, dtype=qkv.dtype)
        q, k, v = split_heads(qkv, n_head)
        (g,) = split_heads(g, n_head, 1)
        attend_grads(xp, split_heads(qkv_grad, n_head), q, k, v, g, largest, sums, tiles, padding, causal, keep, p)
        return qkv_grad, None, None

    return merge_heads(y), grads
