"""GPT-2's blocks at one new token of each text, with a cache: a product, with all that is around it, is one launch."""

from collections.abc import Sequence
from typing import NamedTuple

from tinygrad_gpt.backend import Array, backend_of
from tinygrad_gpt.ops.cuda.attention import attend
from tinygrad_gpt.ops.cuda.blocks import Weights
from tinygrad_gpt.ops.cuda.launch import Kernels, accumulator
from tinygrad_gpt.ops.fast.attention import masked

__all__ = ["LARGEST_BATCH", "Places", "decoded"]

KERNELS = Kernels("decoding")
LARGEST_BATCH = 32  # texts; more are better off with matrix products
ROWS, COLUMNS, THREADS = 8, 32, (32, 32)  # of a block, and its threads, as in the kernels


class Places(NamedTuple):
    """Where the new tokens of a batch of texts belong.

    Args:
        positions: (B, 1) int64, of the tokens in their texts, and so in the caches.
        end: m, places of the caches that hold a token after this pass.
        allowed: (B, 1, m) bool, which of them a token sees; None: all.
    """

    positions: Array
    end: int
    allowed: Array | None


def decoded(x: Array, weights: Sequence[Weights], caches: Sequence[tuple[Array, Array]], places: Places, n_head: int,
            eps: float) -> Array:
    """The result of the blocks at one token a text, (B, 1, C), which sees what the caches hold and itself.

    Args:
        x: (B, 1, C).
        weights: of the blocks.
        caches: keys and values of each block, (B, H, capacity, D); those of the tokens are written there.
        places: of the tokens.
        n_head, eps: number of heads, and what the norms add to the variance.
    """
    xp, (batch, _, width), dtype, m = backend_of(x).namespace, x.shape, weights[0].fc.dtype, places.end
    size, before, stream = width // n_head, xp.ascontiguousarray(x), xp.empty(x.shape, dtype=x.dtype)
    queries, raised = (xp.empty((batch, columns), dtype=dtype) for columns in (width, 4 * width))
    heads = xp.empty((batch, 1, n_head, size), dtype=dtype), xp.empty((batch, n_head, 1), dtype=accumulator(dtype))
    mask = masked(xp, places.allowed, None, False, 0.0, (batch, n_head, 1, m))

    def run(kernel, n_out, *args):
        KERNELS.launch(kernel, queries, (-(-n_out // COLUMNS), -(-batch // ROWS)), *args, threads=THREADS)

    for w, (keys, values) in zip(weights, caches, strict=True):
        run("norm_qkv", 3 * width, before, w.ln_1, w.ln_1_bias, w.attn, w.attn_bias, queries, keys, values,
            places.positions, batch, width, size, keys.shape[2], float(eps))
        attend(xp, queries.reshape(batch, n_head, 1, size), keys[:, :, :m], values[:, :, :m], mask, heads)
        run("add_product", width, heads[0], w.proj, w.proj_bias, before, stream, batch, width, width)
        run("norm_fc_gelu", 4 * width, stream, w.ln_2, w.ln_2_bias, w.fc, w.fc_bias, raised, batch, width, 4 * width,
            float(eps))
        run("add_product", width, raised, w.out, w.out_bias, stream, stream, batch, 4 * width, width)
        before = stream
    return stream
