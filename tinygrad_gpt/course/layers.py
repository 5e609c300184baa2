"""Layers of GPT-2 in simpler ops, as a student is to write them, and the results of typical mistakes.

They stand behind exercises whose forward pass is not given: a student's result is compared with theirs, and where it
differs, with that of each mistake. The gradient is that of the tape.
"""

import math
from collections.abc import Callable

import numpy as np

from tinygrad_gpt import ops
from tinygrad_gpt.course.tensors import on_tensors
from tinygrad_gpt.engine import Op

__all__ = ["HIDDEN", "LAYERS", "said_of_layer"]

HIDDEN = {  # ops that a layer's exercise is about, and that the student's code does not get
    "mlp": ("bias_gelu",),
    "causal_attention": ("attention", "self_attention"),
    "block": (),
}


def mlp(ops, x, fc_weight, fc_bias, proj_weight, proj_bias):
    """The feed-forward layer: four times as wide, GELU, back.

    Forward:  y = gelu(x W₁ + b₁) W₂ + b₂
    Shapes:   x (B, T, C), fc_weight (C, 4C), fc_bias (4C), proj_weight (4C, C), proj_bias (C) -> y (B, T, C)
    """
    return ops.linear(ops.gelu(ops.linear(x, fc_weight, fc_bias)), proj_weight, proj_bias)


def causal_attention(ops, q, k, v):
    """Scaled dot-product attention in which no query sees a later key.

    Forward:  y = softmax(q kᵀ / √D, with −∞ where a key is later than the query) v
    Shapes:   q, k and v (B, H, T, D) -> y (B, H, T, D)
    """
    scores = q @ k.swapaxes(-1, -2) * (1 / math.sqrt(q.shape[-1]))
    past = np.tri(q.shape[-2], dtype=bool)
    return ops.softmax(ops.where(past, scores, -1e30)) @ v


def block(ops, x, ln_weight, ln_bias, attn_weight, mlp_weight):
    """A block of GPT-2 with one head, its projections left out: two branches, each added to what it reads.

    Forward:  x₁ = x + attention(norm₁(x) W),  y = x₁ + gelu(norm₂(x₁) V); row 0 of ln_weight and ln_bias is of norm₁
    Shapes:   x (B, T, C), ln_weight and ln_bias (2, C), attn_weight W (C, 3C), mlp_weight V (C, C) -> y (B, T, C)
    """
    qkv = ops.linear(ops.layer_norm(x, ln_weight[0], ln_bias[0]), attn_weight)
    x = x + ops.self_attention(qkv, n_head=1)
    return x + ops.gelu(ops.linear(ops.layer_norm(x, ln_weight[1], ln_bias[1]), mlp_weight))


def _layer(function: Callable, samples: Callable) -> Op:
    """A layer as an op that is in no registry: a function of arrays."""
    def rule(xp, *arrays):
        return on_tensors(function, ops, arrays)

    rule.__name__, rule.__doc__ = function.__name__, function.__doc__
    op = Op(rule, samples=samples)
    op.arguments = function.__code__.co_varnames[1:function.__code__.co_argcount]
    op.n_arrays = len(op.arguments)
    return op


LAYERS = {op.name: op for op in (
    _layer(mlp, lambda r: [(r.normal(2, 3, 4), r.normal(4, 8), r.normal(8), r.normal(8, 4), r.normal(4))]),
    _layer(causal_attention, lambda r: [tuple(r.normal(2, 2, 3, 2) for _ in "qkv"),
                                        tuple(r.normal(1, 1, 4, 3) for _ in "qkv")]),
    _layer(block, lambda r: [(r.normal(2, 3, 4), r.normal(2, 4), r.normal(2, 4), r.normal(4, 12), r.normal(4, 4))]),
)}


def _attended_branch(o, x, w, b, q):
    return o.self_attention(o.linear(o.layer_norm(x, w[0], b[0]), q), n_head=1)


def _mlp_branch(o, x, w, b, v):
    return o.gelu(o.linear(o.layer_norm(x, w[1], b[1]), v))


def _norms_behind(o, x, w, b, q, v):
    x = o.layer_norm(x + o.self_attention(o.linear(x, q), n_head=1), w[0], b[0])
    return o.layer_norm(x + o.gelu(o.linear(x, v)), w[1], b[1])


def _attended(ops, q, k, v, scale, mask):
    scores = q @ k.swapaxes(-1, -2) * scale
    return ops.softmax(ops.where(mask, scores, -1e30)) @ v


MISTAKES: dict[str, list[tuple[str, Callable]]] = {
    "mlp": [
        ("GELU is missing", lambda o, x, w, b, v, c: o.linear(o.linear(x, w, b), v, c)),
        ("relu is in place of GELU", lambda o, x, w, b, v, c: o.linear(o.relu(o.linear(x, w, b)), v, c)),
        ("the exact GELU is in place of the tanh form", lambda o, x, w, b, v, c: o.linear(o.gelu_exact(
            o.linear(x, w, b)), v, c)),
        ("GELU is behind the second product, not the first", lambda o, x, w, b, v, c: o.gelu(o.linear(o.linear(
            x, w, b), v, c))),
        ("the first bias is missing", lambda o, x, w, b, v, c: o.linear(o.gelu(o.linear(x, w)), v, c)),
        ("the second bias is missing", lambda o, x, w, b, v, c: o.linear(o.gelu(o.linear(x, w, b)), v)),
        ("the input is added, which is the work of the block", lambda o, x, w, b, v, c: x + o.linear(o.gelu(o.linear(
            x, w, b)), v, c)),
    ],
    "causal_attention": [
        ("the scale 1/√D is missing", lambda o, q, k, v: _attended(o, q, k, v, 1.0, np.tri(q.shape[-2], dtype=bool))),
        ("it is divided by D, not by √D", lambda o, q, k, v: _attended(
            o, q, k, v, 1 / q.shape[-1], np.tri(q.shape[-2], dtype=bool))),
        ("the causal mask is forgotten: each query sees all keys", lambda o, q, k, v: _attended(
            o, q, k, v, 1 / math.sqrt(q.shape[-1]), np.ones((q.shape[-2],) * 2, dtype=bool))),
        ("the mask is the wrong way round: each query sees itself and later keys", lambda o, q, k, v: _attended(
            o, q, k, v, 1 / math.sqrt(q.shape[-1]), np.tri(q.shape[-2], dtype=bool).T)),
        ("the softmax is over queries, not over keys", lambda o, q, k, v: o.softmax(o.where(np.tri(
            q.shape[-2], dtype=bool), q @ k.swapaxes(-1, -2) * (1 / math.sqrt(q.shape[-1])), -1e30), axis=-2) @ v),
        ("the softmax is missing", lambda o, q, k, v: (q @ k.swapaxes(-1, -2) * (1 / math.sqrt(q.shape[-1]))) @ v),
        ("scores are set to 0, not to −∞, where the mask hides them", lambda o, q, k, v: o.softmax(o.where(np.tri(
            q.shape[-2], dtype=bool), q @ k.swapaxes(-1, -2) * (1 / math.sqrt(q.shape[-1])), 0.0)) @ v),
    ],
    "block": [
        ("both residual connections are missing", lambda o, x, w, b, q, v: _mlp_branch(
            o, _attended_branch(o, x, w, b, q), w, b, v)),
        ("the first residual connection is missing", lambda o, x, w, b, q, v: _attended_branch(
            o, x, w, b, q) + _mlp_branch(o, _attended_branch(o, x, w, b, q), w, b, v)),
        ("the second residual connection is missing", lambda o, x, w, b, q, v: _mlp_branch(
            o, x + _attended_branch(o, x, w, b, q), w, b, v)),
        ("the second branch reads x, not the sum of x and the first branch", lambda o, x, w, b, q, v: (
            x + _attended_branch(o, x, w, b, q) + _mlp_branch(o, x, w, b, v))),
        ("the norms are behind the branches, not before them", _norms_behind),
        ("GELU is missing", lambda o, x, w, b, q, v: x + _attended_branch(o, x, w, b, q) + o.linear(o.layer_norm(
            x + _attended_branch(o, x, w, b, q), w[1], b[1]), v)),
        ("the two norms are exchanged", lambda o, x, w, b, q, v: block(o, x, w[::-1], b[::-1], q, v)),
    ],
}


def said_of_layer(name: str, rule: Callable, arrays: tuple) -> str | None:
    """What is wrong with a student's layer on these arrays; None for nothing.

    Args:
        name: of the layer.
        rule: as a function of arrays that returns the result and a function of its gradient.
    """
    y, grads = LAYERS[name].function(None, *arrays)
    theirs, their_grads = rule(None, *arrays)
    if theirs.shape != y.shape or theirs.dtype != y.dtype:
        return f"the result is {theirs.shape} {theirs.dtype}, expected {y.shape} {y.dtype}"
    close = 1e-9 if y.dtype == np.float64 else 1e-4
    if not np.allclose(theirs, y, rtol=close, atol=close):
        return _said_of_result(name, theirs, y, arrays)
    g = np.random.default_rng(3).standard_normal(y.shape).astype(y.dtype)
    for argument, ours, right in zip(LAYERS[name].arguments, their_grads(g), grads(g), strict=True):
        if not np.allclose(ours, right, rtol=close, atol=close):
            return f"gradient of '{argument}': another one; compute with ops, so that each step is on the tape"
    return None


def _said_of_result(name, theirs, y, arrays) -> str:
    if not theirs.any():
        return "the result is all zeros"
    for said, layer in MISTAKES[name]:
        if np.allclose(theirs, on_tensors(layer, ops, arrays)[0], rtol=1e-5, atol=1e-6):
            return f"in the result, {said}"
    gap = np.abs(theirs - y)
    at = tuple(int(k) for k in np.unravel_index(np.nan_to_num(gap, nan=np.inf).argmax(), gap.shape))
    return f"the result is another one: entry {list(at)} is {theirs[at]:.6g}, expected {y[at]:.6g}"
