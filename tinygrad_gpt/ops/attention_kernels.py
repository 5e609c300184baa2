"""Attention on a GPU: what `ops/attention.py` has of the kernels in attention.cu."""

from pathlib import Path
from typing import Any

from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.backend.precision import current_precision
from tinygrad_gpt.ops.kernels import SCALARS, accumulator

__all__ = ["has_kernels", "launch_attend", "launch_attend_grads"]

SOURCE = Path(__file__).with_name("attention.cu")
WIDTHS = (16, 32, 64, 128)  # of a row in shared memory: head sizes up to the last
ROWS, THREADS = 64, 128  # of a block, as in the kernels
BLOCKS = 256  # that keep a GPU busy


def has_kernels(q):
    """Are there kernels for the backend, the type and the head size of q (B, H, n, D)?"""
    return backend_of(q).launch is not None and q.shape[-1] <= WIDTHS[-1] and q.dtype.name in SCALARS


def launch_attend(q, k, v, allowed, causal, keep, p):
    """Like `attend`: the result (B, H, n, D), heads side by side in memory, and log₂ Σ 2^(S log₂ e) (B, H, n)."""
    xp, (batch, n_head, n, size), m = backend_of(q).xp, q.shape, k.shape[2]
    tiles = -(-n // ROWS)
    # Few queries, as in decoding: the keys of each are spread over several blocks, at least 128 to a block.
    parts = max(1, min(-(-m // 128), BLOCKS // max(1, tiles * n_head * batch)))
    y = xp.empty((parts, batch, n, n_head, size), dtype=q.dtype)
    log_sums = xp.empty((parts, batch, n_head, n), dtype=accumulator(q.dtype))
    _launch("attend", q, k, v, allowed, causal, keep, p, (tiles * parts, n_head, batch), parts, y, log_sums)
    if parts == 1:
        return y[0].transpose(0, 2, 1, 3), log_sums[0]
    joined, joined_log_sums = xp.empty(y.shape[1:], dtype=y.dtype), xp.empty(log_sums.shape[1:], dtype=log_sums.dtype)
    _launch_rows("combine", q, y, log_sums, parts, n, size, joined, joined_log_sums)
    return joined.transpose(0, 2, 1, 3), joined_log_sums


def launch_attend_grads(grads, q, k, v, g, y, log_sums, allowed, causal, keep, p):
    """Write to ``grads``, with the strides of q, k and v, their gradients, given ``g`` and ``y`` (B, H, n, D)."""
    xp, (batch, n_head, n, size) = backend_of(q).xp, q.shape
    grad_q, grad_k, grad_v = grads
    y, g = (xp.ascontiguousarray(a.transpose(0, 2, 1, 3)) for a in (y, g))  # (B, n, H, D)
    delta = xp.empty(log_sums.shape, dtype=log_sums.dtype)
    _launch_rows("attend_delta", q, y, g, n, size, delta)
    for kernel, rows, results in (("attend_grad_q", n, [grad_q]), ("attend_grad_kv", k.shape[2], [grad_k, grad_v])):
        _launch(kernel, q, k, v, allowed, causal, keep, p, (-(-rows // ROWS), n_head, batch),
                g, log_sums, delta, *results)


def _launch(kernel, q, k, v, allowed, causal, keep, p, grid, *rest):
    """Run a kernel that takes the common parameters, and the ``rest``."""
    xp, n, (m, size) = backend_of(q).xp, q.shape[2], k.shape[2:]
    q, k, v, allowed = (_with_rows(xp, a) for a in (q, k, v, allowed))
    if k.strides != v.strides:
        k, v = xp.ascontiguousarray(k), xp.ascontiguousarray(v)
    keep = None if keep is None else xp.ascontiguousarray(keep)
    steps = [stride // a.itemsize for a in (q, k) for stride in a.strides[:3]]
    steps += (0, 0, 0) if allowed is None else allowed.strides[:3]
    cores = "TensorCores" if q.itemsize == 2 or (q.itemsize == 4 and current_precision().tf32) else "Plain"
    width = next(width for width in WIDTHS if size <= width)
    ahead = m - n if causal else m  # a query sees the keys up to its own place and so many more
    launch: Any = backend_of(q).launch
    if all(grid):
        launch(SOURCE, f"{kernel}<{cores}, {SCALARS[q.dtype.name]}, {width}>", grid, (THREADS,),
               (q, k, v, allowed, keep, n, m, size, ahead, 1 / (1 - p), *steps, *rest),
               _shared(kernel, width, q.itemsize))


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


def _shared(kernel, width, itemsize):
    """Bytes of shared memory of a block: `Tiles`, `QueryTiles` or `KeyTiles` in the kernels."""
    row = width * itemsize
    others = 64 if row <= 256 else 32 if row <= 512 else 16
    rows = (ROWS if kernel == "attend" else 2 * ROWS) + 2 * others
    sums = 2 * others * max(4, itemsize) if kernel == "attend_grad_kv" else 0
    return rows * (row + 16) + sums
