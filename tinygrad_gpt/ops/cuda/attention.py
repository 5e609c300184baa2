"""Attention with tensor cores, on tiles in shared memory: the scores never exist whole."""

import functools
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinygrad_gpt.backend import Array, backend_of
from tinygrad_gpt.backend.cards import Card
from tinygrad_gpt.backend.precision import current_precision
from tinygrad_gpt.engine import OPS, cuda
from tinygrad_gpt.ops.attention import merge_heads, split_heads
from tinygrad_gpt.ops.cuda import cudnn_attention
from tinygrad_gpt.ops.cuda.dropout import hashing
from tinygrad_gpt.ops.cuda.launch import SCALARS, accumulator
from tinygrad_gpt.ops.fast.attention import Mask, masked

__all__ = ["Kernel", "attend", "attend_grads", "attention", "has_kernels", "kernel_for", "self_attention"]

SOURCE = Path(__file__).with_name("attention.cu")
WIDTHS = (16, 32, 64, 128)  # of a row in shared memory: head sizes up to the last
ROWS, THREADS = 64, 128  # of a block, as in the kernels
BLOCKS = 256  # that keep a GPU busy
TILED = ("attend", "attend_grad_q", "attend_grad_kv")


class Saved(NamedTuple):
    """What the backward pass needs.

    Args:
        y: the result, (B, n, H, D).
        log_sums: log₂ Σ 2^(S log₂ e) of each query, (B, H, n).
    """

    y: Array
    log_sums: Array


class Kernel(NamedTuple):
    """One of the tiled kernels as a GPU runs it.

    Args:
        name: with its types and sizes.
        shared: bytes of shared memory of a block.
    """

    name: str
    shared: int


@functools.cache
def kernel_for(kernel: str, dtype: np.dtype, size: int, tf32: bool, card: Card) -> Kernel | None:
    """The kernel that a GPU runs for heads of a size: on its tensor cores if they take the type, its tiles of 16 KiB at
    most, and smaller where shared memory is scarce. None if there is none.

    Args:
        kernel: one of `TILED`.
        tf32: whether the precision allows TF32.
    """
    kind = "tf32" if tf32 and dtype == np.float32 else dtype.name
    cores = "TensorCores" if kind in card.tensor_cores else "Plain"
    width = next((width for width in WIDTHS if size <= width), sys.maxsize)
    for others in (64, 32, 16):  # rows that pass by in a tile
        shared = _shared(kernel, width, others, dtype.itemsize)
        if others * width * dtype.itemsize <= 16 * 1024 and shared <= card.shared_memory:
            return Kernel(f"{kernel}<{cores}, {SCALARS[dtype.name]}, {width}, {others}>", shared)
    return None


def has_kernels(q: Array) -> bool:
    """Whether there are kernels for the type and the head size of q (B, H, n, D) on its GPU."""
    card: Any = backend_of(q).card()
    return q.dtype.name in SCALARS and all(kernel_for(kernel, q.dtype, q.shape[-1], False, card) for kernel in TILED)


@cuda("attention")
def attention(xp, q, k, v, padding=None, keep=None, *, causal=True, p=0.0):
    """Op 'attention'; saves the result and one number a query."""
    if not has_kernels(q):
        return OPS["attention"].fast.body((q, k, v))(xp, q, k, v, padding, keep, causal=causal, p=p)
    mask = masked(xp, padding, keep, causal, p, (*q.shape[:3], k.shape[2]))
    y, saved = attend(xp, q, k, v, mask)  # which reads a cache where it is

    def grads(g):
        qkv = [xp.ascontiguousarray(a) for a in (q, k, v)]
        qkv_grads = [xp.empty(a.shape, dtype=a.dtype) for a in qkv]
        attend_grads(xp, qkv, g, mask, saved, qkv_grads)
        return *qkv_grads, None, None

    return y, grads


@cuda("self_attention")
def self_attention(xp, qkv, padding=None, keep=None, *, n_head, causal=True, p=0.0):
    """Op 'self_attention'; queries, keys and values are views of qkv, and so are their gradients."""
    qkv = xp.ascontiguousarray(qkv)
    q, k, v = split_heads(qkv, n_head)
    if not has_kernels(q):
        return OPS["self_attention"].fast.body((qkv,))(xp, qkv, padding, keep, n_head=n_head, causal=causal, p=p)
    mask = masked(xp, padding, keep, causal, p, (*q.shape[:3], k.shape[2]))
    y, saved = attend(xp, q, k, v, mask)

    def grads(g):
        qkv_grad = xp.empty(qkv.shape, dtype=qkv.dtype)
        (g,) = split_heads(g, n_head, 1)
        attend_grads(xp, split_heads(qkv, n_head), g, mask, saved, split_heads(qkv_grad, n_head))
        return qkv_grad, None, None

    return merge_heads(y), grads


def attend(xp, q, k, v, mask: Mask,
           out: tuple[Array, Array] | None = None) -> tuple[Array, Saved | cudnn_attention.Saved]:
    """The result (B, H, n, D), heads side by side in memory, and what `attend_grads` needs.

    With ``out`` it is written there: the result (B, n, H, D), and one number a query (B, H, n).
    """
    if cudnn_attention.has_attention(q, k, mask):
        return cudnn_attention.attend(xp, q, k, v, mask, out)
    (batch, n_head, n, size), m = q.shape, k.shape[2]
    tiles = -(-n // ROWS)
    # Few queries, as in decoding: the keys of each are spread over several blocks, at least 128 to a block.
    parts = max(1, min(-(-m // 128), BLOCKS // max(1, tiles * n_head * batch)))

    def empty(*more):
        return Saved(xp.empty((*more, batch, n, n_head, size), dtype=q.dtype),
                     xp.empty((*more, batch, n_head, n), dtype=accumulator(q.dtype)))

    result = Saved(*out) if out else empty()
    y, log_sums = result if parts == 1 else empty(parts)
    _launch("attend", (q, k, v), mask, (tiles * parts, n_head, batch), parts, y, log_sums)
    if parts > 1:
        _launch_rows("combine", q, y, log_sums, parts, n, size, *result)
    return result.y.transpose(0, 2, 1, 3), result


def attend_grads(xp, qkv, g, mask: Mask, saved: Saved | cudnn_attention.Saved, grads,
                 delta: Array | None = None) -> None:
    """Write the gradients of `attend`, given that of its result, to arrays with the strides of q, k and v.

    ``delta`` is memory for one number a query, (B, H, n); None: new memory.
    """
    if isinstance(saved, cudnn_attention.Saved):
        cudnn_attention.attend_grads(xp, qkv, g, mask, saved, grads)
        return
    (q, k, _), (q_grad, k_grad, v_grad) = qkv, grads
    n_head, n = q.shape[1:3]
    g = xp.ascontiguousarray(g.transpose(0, 2, 1, 3))  # (B, n, H, D)
    if delta is None:
        delta = xp.empty(saved.log_sums.shape, dtype=saved.log_sums.dtype)
    tiles, key_tiles, log_sums = -(-n // ROWS), -(-k.shape[2] // ROWS), saved.log_sums
    _launch("attend_grad_q", qkv, mask, (tiles, n_head, len(q)), saved.y, g, log_sums, delta, q_grad)  # and delta
    _launch("attend_grad_kv", qkv, mask, (key_tiles, n_head, len(q)), g, log_sums, delta, k_grad, v_grad)


def _launch(kernel, qkv, mask, grid, *rest):
    """Run a kernel that takes the common parameters, and the ``rest``."""
    (q, k, v), visible, keep = qkv, mask.padding, mask.keep
    xp, n, (m, size) = backend_of(q).xp, q.shape[2], k.shape[2:]
    q, k, v, visible = (_with_rows(xp, a) for a in (q, k, v, visible))
    if k.strides != v.strides:
        k, v = xp.ascontiguousarray(k), xp.ascontiguousarray(v)
    keep = None if keep is None else xp.ascontiguousarray(keep)
    steps = [stride // a.itemsize for a in (q, k) for stride in a.strides[:3]]
    steps += (0, 0, 0) if visible is None else visible.strides[:3]
    ahead = m - n if mask.causal else m  # query i sees the keys up to i + ahead
    backend: Any = backend_of(q)
    chosen: Any = kernel_for(kernel, q.dtype, size, current_precision().tf32, backend.card())
    if all(grid):
        dropout = 1 / (1 - mask.p), *hashing(mask.seed, mask.p, mask.start)
        backend.launch(SOURCE, chosen.name, grid, (THREADS,),
                       (q, k, v, visible, keep, n, m, size, ahead, *dropout, *steps, *rest), chosen.shared)


def _launch_rows(kernel, like, *args):
    """Run a kernel of which each warp makes one row of (B, H, n), of the shapes of ``like`` (B, H, n, D)."""
    batch, n_head, n, _ = like.shape
    grid = -(-n * 32 // THREADS), n_head, batch
    launch: Any = backend_of(like).launch
    if all(grid):
        launch(SOURCE, f"{kernel}<{SCALARS[like.dtype.name]}>", grid, (THREADS,), args)


def _with_rows(xp, a):
    """The array, its last axis side by side in memory."""
    return a if a is None or a.strides[-1] == a.itemsize else xp.ascontiguousarray(a)


def _shared(kernel, width, others, itemsize):
    """Bytes of shared memory of a block: `Tiles`, `QueryTiles` or `KeyTiles` in the kernels."""
    rows = (ROWS if kernel == "attend" else 2 * ROWS) + 2 * others
    sums = 2 * others * max(4, itemsize) if kernel == "attend_grad_kv" else 0
    return rows * (width * itemsize + 16) + sums
