"""Attention from products, a mask, softmax and dropout."""

import math

from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.backend.precision import is_half
from tinygrad_gpt.engine import composed, raw
from tinygrad_gpt.ops.attention import visible_keys
from tinygrad_gpt.ops.dropout import dropout
from tinygrad_gpt.ops.elementwise import where
from tinygrad_gpt.ops.matmul import matmul
from tinygrad_gpt.ops.shape import permute, reshape
from tinygrad_gpt.ops.softmax import softmax

__all__ = ["attention", "self_attention"]


@composed("attention")
def attention(q, k, v, padding=None, keep=None, *, causal=True, p=0.0):
    xp = backend_of(q.data).xp
    scores = matmul(q, k.mT) * (1 / math.sqrt(q.shape[-1]))
    visible = None
    if padding is not None or (causal and q.shape[-2] > 1):
        # The mask is new: the ops that save it do not track the tensor that owns the padding.
        visible = visible_keys(xp, q.shape[-2], k.shape[-2], raw(padding), causal)
        scores = where(visible, scores, -6e4 if is_half(scores.dtype) else float(xp.finfo(scores.dtype).min))
    weights = softmax(scores)
    if visible is not None:  # a query that may see no key has the result 0
        weights = where(visible, weights, 0.0)
    if keep is not None:
        weights = dropout(weights, keep, p=p)
    return matmul(weights, v)


@composed("self_attention")
def self_attention(qkv, padding=None, keep=None, *, n_head, causal=True, p=0.0):
    batch, length, width = qkv.shape
    heads = permute(reshape(qkv, shape=(batch, length, 3, n_head, width // (3 * n_head))), dims=(2, 0, 3, 1, 4))
    y = attention(heads[0], heads[1], heads[2], padding, keep, causal=causal, p=p)
    return reshape(y.transpose(1, 2), shape=(batch, length, width // 3))
