"""Attention on the host, tile by tile: the scores of a long text never exist whole."""

import functools
import itertools
import math
from typing import Any, NamedTuple

from tinygrad_gpt.backend import Array, backend_of
from tinygrad_gpt.engine import fast
from tinygrad_gpt.ops.attention import merge_heads, split_heads

__all__ = ["QUERIES", "Mask", "Saved", "attend", "attend_grads", "attention", "attention_by", "masked", "part",
           "self_attention", "self_attention_by", "tiles"]

TILE = 1 << 19  # scores of a tile: they fit the shared cache
QUERIES = 128  # at most in a tile


class Mask(NamedTuple):
    """Which keys a query sees, and which weights dropout keeps.

    Args:
        padding: bool (B, H, n, m), keys that exist; None: all.
        causal: a query sees its own key and those before; the last query is at the last key.
        keep: bool (B, H, n, m), weights that dropout keeps; None: all.
        p: probability that a weight was dropped.
        seed, start: of the mask ``keep``, for kernels that hash it themselves; None: ``keep`` decides.
    """

    padding: Array | None
    causal: bool
    keep: Array | None
    p: float
    seed: int | None = None
    start: int = 0


class Saved(NamedTuple):
    """What the backward pass needs of the scores S.

    Args:
        row_max: (B, H, n, 1), max S of each query.
        row_sum: (B, H, n, 1), Σ e^(S − max S).
        exps: e^(S − max S), tile by tile, of short texts; () of long ones, where they are computed again.
    """

    row_max: Array
    row_sum: Array
    exps: tuple[Array, ...]


def masked(xp, padding, keep, causal, p, shape) -> Mask:
    """The mask of an op's arguments: padding (B, m) or (B, n, m), for scores of a shape (B, H, n, m)."""
    if padding is not None:
        padding = xp.broadcast_to(padding.reshape(shape[0], 1, -1, shape[3]), shape)
    return Mask(padding, causal, keep, p)


@fast("attention")
def attention(xp, q, k, v, padding=None, keep=None, *, causal=True, p=0.0):
    """Op 'attention'; saves the row sums, and the exponentials of short texts only."""
    mask = masked(xp, padding, keep, causal, p, (*q.shape[:3], k.shape[2]))
    return attention_by(attend, attend_grads, xp, q, k, v, mask)


@fast("self_attention")
def self_attention(xp, qkv, padding=None, keep=None, *, n_head, causal=True, p=0.0):
    """Op 'self_attention'; queries, keys and values are views of qkv, and so are their gradients."""
    mask = masked(xp, padding, keep, causal, p, (len(qkv), n_head, qkv.shape[1], qkv.shape[1]))
    return self_attention_by(attend, attend_grads, xp, qkv, n_head, mask)


def attention_by(attend, attend_grads, xp, q, k, v, mask):
    """Result and pullback of the op 'attention' by two functions such as those below."""
    y, saved = attend(xp, q, k, v, mask)

    def grads(g):
        qkv_grads = [xp.zeros_like(a) for a in (q, k, v)]
        attend_grads(xp, (q, k, v), g, mask, saved, qkv_grads)
        return *qkv_grads, None, None

    return y, grads


def self_attention_by(attend, attend_grads, xp, qkv, n_head, mask):
    """The same of the op 'self_attention'."""
    y, saved = attend(xp, *split_heads(qkv, n_head), mask)

    def grads(g):
        qkv_grad = xp.zeros(qkv.shape, dtype=qkv.dtype)
        (g,) = split_heads(g, n_head, 1)
        attend_grads(xp, split_heads(qkv, n_head), g, mask, saved, split_heads(qkv_grad, n_head))
        return qkv_grad, None, None

    return merge_heads(y), grads


def attend(xp, q, k, v, mask: Mask) -> tuple[Array, Saved]:
    """Attention of queries (B, H, n, D) to keys and values (B, H, m, D).

    Returns:
        The result (B, H, n, D), heads side by side in memory, 0 for a query that sees no key; and what
        `attend_grads` needs.
    """
    bmm, (batch, n_head, n, size) = backend_of(q).bmm, q.shape
    y = xp.empty((batch, n, n_head, size), dtype=q.dtype).transpose(0, 2, 1, 3)
    row_max, row_sum = (xp.empty((batch, n_head, n, 1), dtype=q.dtype) for _ in range(2))
    exps = []
    for at_q, at_k in tiles(q, k, mask.causal):
        visible = part(mask.padding, at_q, at_k)
        e, row_max[at_q] = _exponentials(xp, q[at_q], k[at_k], visible, mask.causal)
        total = _row_sums(xp, e)  # at least 1, that of the largest, unless all keys are masked
        row_sum[at_q] = xp.maximum(total, 1) if _may_see_none(e, visible) else total
        exps.append(e)
        if mask.keep is not None:
            e = e * part(mask.keep, at_q, at_k) * (1 / (1 - mask.p))
        y[at_q] = bmm(e, v[at_k]) / row_sum[at_q]
        if k.shape[2] > QUERIES:
            exps.clear()  # more numbers than q and k: computed again in backward
    return y, Saved(row_max, row_sum, tuple(exps))


def attend_grads(xp, qkv, g, mask: Mask, saved: Saved, grads) -> None:
    """Add the gradients of `attend` to arrays of zeros.

    Args:
        qkv: its queries, keys and values.
        g: gradient of its result, (B, H, n, D).
        mask, saved: as there.
        grads: three arrays of the shapes of q, k and v; they are written to.
    """
    (q, k, v), (q_grad, k_grad, v_grad) = qkv, grads
    bmm, scale = backend_of(g).bmm, 1 / math.sqrt(q.shape[-1] or 1)
    g = g / saved.row_sum  # A = e / sum: dividing g (D wide) is cheaper than dividing e (m wide)
    for i, (at_q, at_k) in enumerate(tiles(q, k, mask.causal)):
        e = saved.exps[i] if saved.exps else _exponentials(
            xp, q[at_q], k[at_k], part(mask.padding, at_q, at_k), mask.causal, saved.row_max[at_q])[0]
        S_grad = bmm(g[at_q], v[at_k].swapaxes(-1, -2))  # so far of U
        U = e
        if mask.keep is not None:
            kept = part(mask.keep, at_q, at_k)
            U = e * kept * (1 / (1 - mask.p))
            S_grad *= kept
            S_grad *= 1 / (1 - mask.p)
        S_grad -= _row_sums(xp, S_grad * e) / saved.row_sum[at_q]  # softmax
        S_grad *= e
        v_grad[at_k] += bmm(U.swapaxes(-1, -2), g[at_q])
        q_grad[at_q] = bmm(S_grad, k[at_k]) * scale
        k_grad[at_k] += bmm(S_grad.swapaxes(-1, -2), q[at_q] * scale)


def tiles(q, k, causal):
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


def _exponentials(xp, q, k, visible, causal, row_max=None):
    """e^(S − max S) (..., n, m) of some queries and keys, 0 where a query does not see a key; and max S."""
    scores = backend_of(q).bmm(q * (1 / math.sqrt(q.shape[-1] or 1)), k.swapaxes(-1, -2))
    n, m = scores.shape[-2:]
    if causal and n > 1:
        corner = scores[..., max(0, m - n):]  # all queries see the keys before it
        xp.minimum(corner, _causal_limit(xp, n, corner.shape[-1], scores.dtype), out=corner)
    if visible is not None:
        xp.copyto(scores, -math.inf, where=xp.logical_not(visible))
    if row_max is None:
        row_max = scores.max(axis=-1, keepdims=True)
        if _may_see_none(scores, visible):  # no ∞ − ∞
            row_max = xp.maximum(row_max, float(xp.finfo(scores.dtype).min))
    scores -= row_max
    return xp.exp(scores, out=scores), row_max


@functools.lru_cache(maxsize=4)  # nearly all tiles need the same one, and making it takes a twentieth of their time
def _causal_limit(xp: Any, n: int, m: int, dtype: Any) -> Array:
    """(n, m): ∞ where a query may see a key, −∞ where it may not; the last query is at the last key."""
    limit = xp.full((n, m), -math.inf, dtype=dtype)
    xp.copyto(limit, math.inf, where=xp.tri(n, m, m - n, dtype=bool))
    return limit


def _may_see_none(scores, visible):
    """Whether some query may see no key, because of padding or because there are more queries than keys."""
    return visible is not None or scores.shape[-2] > scores.shape[-1]


def _row_sums(xp, e):
    """Sums (..., n, 1) over the last axis; as a product they take a quarter of the time."""
    return backend_of(e).bmm(e, xp.ones((e.shape[-1], 1), dtype=e.dtype))


def part(mask, at_q, at_k):
    """What a mask (B, H, n, m) says about a tile."""
    return None if mask is None else mask[(*at_q, at_k[2])]
