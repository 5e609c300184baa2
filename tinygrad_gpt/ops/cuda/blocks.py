"""A stack of GPT-2's blocks on a GPU, its launches written down one after another: the same numbers in half of them.

    s = x + attn(ln_1(x)),  x ← s + mlp(ln_2(s))

Each part of a block is an op of `ops/`, and `nn/layers.py` says how they follow each other. Here the bias of a product,
the sum with the residual stream and the norm behind it are one kernel, forward and backward. Gradients of weights wait
for the end of the backward pass: those of one kind, of all blocks, are one product.
"""

from collections.abc import Sequence
from typing import NamedTuple

from tinygrad_gpt.backend import Array, backend_of
from tinygrad_gpt.ops.attention import split_heads
from tinygrad_gpt.ops.cuda.activation import write_bias_gelu
from tinygrad_gpt.ops.cuda.attention import attend, attend_grads
from tinygrad_gpt.ops.cuda.dropout import hashing
from tinygrad_gpt.ops.cuda.launch import CHUNK, THREADS, Kernels
from tinygrad_gpt.ops.fast.attention import Mask

__all__ = ["Drops", "Stack", "Weights"]

Drop = tuple[int | None, float, int]
NO_DROP: Drop = None, 0.0, 0
KERNELS, ACTIVATION = Kernels("blocks"), Kernels("activation")
GROUPS = 128  # at most, of rows whose sums are made apart: they keep a GPU busy


class Weights(NamedTuple):
    """Those of one block: of the norms as they are, of the layers in the dtype of products."""

    ln_1: Array
    ln_1_bias: Array
    attn: Array
    attn_bias: Array | None
    proj: Array
    proj_bias: Array
    ln_2: Array
    ln_2_bias: Array
    fc: Array
    fc_bias: Array
    out: Array
    out_bias: Array


class Drops(NamedTuple):
    """The masks of dropout in one block, as a seed (None: no dropout), a probability, and the first place.

    Args:
        weights: of attention.
        attention, mlp: of what is added to the stream.
    """

    weights: Drop
    attention: Drop
    mlp: Drop


class Kept(NamedTuple):
    """What a pass through n blocks makes, kept for backward; N = B · T rows.

    The residual stream has 2n + 1 places: 2i is what goes into block i and its ln_1, 2i + 1 what goes into its ln_2,
    and 2n is the result.

    Args:
        stream: (2n − 1, N, C), the places between the first and the last.
        norms: (2n, N, C), results of the norms; means, rstds: (2n, N).
        qkv: (n, N, 3C).
        heads: (n, B, T, H, D), results of attention; log_sums: (n, B, H, T).
        hidden: (n, N, 4C), products of c_fc; backward puts their gradients in their place.
        raised: (n, N, 4C), results of GELU.
    """

    stream: Array
    norms: Array
    means: Array
    rstds: Array
    qkv: Array
    heads: Array
    log_sums: Array
    hidden: Array
    raised: Array


class Stack:
    """n blocks, and one pass through them.

    Args:
        x: the input, (B, T, C).
        weights: of the blocks.
        n_head, eps: number of heads, and what the norms add to the variance.
        keeping: whether `backward` follows; if not, all blocks share the memory of one.
        drops: of each block.
    """

    def __init__(self, x: Array, weights: Sequence[Weights], n_head: int, eps: float, keeping: bool,
                 drops: Sequence[Drops]):
        backend, (self.batch, self.length, self.width) = backend_of(x), x.shape
        self.xp, self.product, self.weights = backend.namespace, backend.bmm, weights
        self.n_head, self.eps, self.keeping, self.drops = n_head, float(eps), keeping, drops
        self.rows, self.dtype, self.wide_dtype = self.batch * self.length, weights[0].fc.dtype, x.dtype
        self.x = self.xp.ascontiguousarray(x).reshape(self.rows, self.width)
        self.y = self.empty(self.width, wide=True)
        self.kept = self._room(len(weights) if keeping else 1)
        self.attention: list = []  # what the attention of each block needs for its backward pass
        self.spent = False

    def empty(self, *shape: int, wide: bool = False) -> Array:
        """Arrays (…, N, columns), of the dtype of products, or of that of the stream."""
        return self.xp.empty((*shape[:-1], self.rows, shape[-1]), dtype=self.wide_dtype if wide else self.dtype)

    def _room(self, n):
        """For what the pass makes of n blocks."""
        c, heads, empty = self.width, (self.batch, self.length, self.n_head, self.width // self.n_head), self.xp.empty
        means, rstds = (empty((2 * n, self.rows), dtype=self.wide_dtype) for _ in range(2))
        log_sums = empty((n, self.batch, self.n_head, self.length), dtype=self.wide_dtype)
        return Kept(self.empty(2 * n - 1 if self.keeping else 0, c, wide=True), self.empty(2 * n, c), means, rstds,
                    self.empty(n, 3 * c), empty((n, *heads), dtype=self.dtype), log_sums, self.empty(n, 4 * c),
                    self.empty(n, 4 * c))

    def forward(self) -> tuple[Array, Kept]:
        """The result, (B, T, C), and what `backward` takes."""
        kept, narrow = self.kept, self.empty(self.width)
        if self.keeping:
            self._fill(self.weights)
        self._add_norm(0)
        for i, w in enumerate(self.weights):
            at = i if self.keeping else 0  # where what it makes is kept
            if not self.keeping:
                self._fill([w])
            self.product(kept.norms[2 * at], w.attn, out=kept.qkv[at], add=w.attn_bias is not None)
            q, k, v = self.split(kept.qkv[at])
            self.attention.append(attend(self.xp, q, k, v, self.mask(i), (kept.heads[at], kept.log_sums[at]))[1])
            self.product(kept.heads[at].reshape(self.rows, self.width), w.proj, out=narrow)
            self._add_norm(2 * i + 1, narrow, w.proj_bias)
            self.product(kept.norms[2 * at + 1], w.fc, out=kept.hidden[at])
            write_bias_gelu(kept.hidden[at], w.fc_bias, kept.raised[at])
            self.product(kept.raised[at], w.out, out=narrow)
            self._add_norm(2 * i + 2, narrow, w.out_bias)
        return self.y.reshape(self.batch, self.length, self.width), kept

    def _fill(self, weights):
        """Write the biases of c_attn to where its products are added."""
        qkv = self.kept.qkv
        if weights[0].attn_bias is not None:
            KERNELS.launch("fill_rows", qkv, (self.rows, -(-qkv.shape[-1] // THREADS), len(weights)),
                           [w.attn_bias for w in weights], qkv, qkv.shape[-1])

    def mask(self, i: int) -> Mask:
        """That of the attention of block i."""
        seed, p, start = self.drops[i].weights
        return Mask(None, True, None, p, seed, start)

    def drop(self, place: int) -> tuple[int, int, int, int, float]:
        """What kernels hash the mask with, and the factor 1 / (1 − p), of what is added to the stream at a place."""
        drops = self.drops[(place - 1) // 2]
        drop = NO_DROP if place == 0 else drops.attention if place % 2 else drops.mlp
        return *hashing(*drop), 1 / (1 - drop[1])

    def at(self, place: int) -> Array:
        """The stream at a place, (N, C); off the tape all places behind the first share their memory."""
        last = place == 2 * len(self.weights) or not self.keeping
        return self.x if place == 0 else self.y if last else self.kept.stream[place - 1]

    def norm(self, place: int) -> tuple:
        """Weight, shift, result, means and 1 / standard deviations of the norm at a place of the stream; or Nones."""
        if place == 2 * len(self.weights):
            return (None,) * 5
        w, at = self.weights[place // 2], place if self.keeping else place % 2
        norm = (w.ln_2, w.ln_2_bias) if place % 2 else (w.ln_1, w.ln_1_bias)
        return *norm, self.kept.norms[at], self.kept.means[at], self.kept.rstds[at]

    def _add_norm(self, place, product=None, bias=None):
        """Add a product and its bias to the stream, as its next place, and norm the sum."""
        weight, shift, *results = self.norm(place)
        KERNELS.launch("add_norm", self.kept.norms, -(-self.rows * 32 // THREADS), self.at(max(0, place - 1)), product,
                       bias, weight, shift, self.at(place) if place else None, *results, self.rows, self.width,
                       self.eps, *self.drop(place))

    def split(self, a: Array, parts: int = 3) -> Array:
        """Views (B, H, T, D) of queries, keys and values, or of results of heads."""
        return split_heads(a.reshape(self.batch, self.length, -1), self.n_head, parts)

    def backward(self, kept: Kept, g: Array, for_weights: bool) -> tuple[Array, list[Weights]]:
        """Gradients of x, and of the weights, given that of the result."""
        if self.spent:
            for i, w in enumerate(self.weights):
                self.product(kept.norms[2 * i + 1], w.fc, out=kept.hidden[i])
        self.spent = True
        way = WayBack(self)
        above = way.at_place(2 * len(self.weights), None, self.xp.ascontiguousarray(g).reshape(self.rows, self.width))
        for i in reversed(range(len(self.weights))):
            above = way.through_block(i, above)
        x_grad = above.reshape(self.batch, self.length, self.width)
        return x_grad, way.weight_grads() if for_weights else []


class WayBack:
    """A backward pass of a `Stack`.

    Attributes:
        grads: (2n, N, C), the gradient of the stream at its places 1 to 2n, as products take it.
        qkv_grads: (n, N, 3C).
    """

    def __init__(self, stack: Stack):
        self.stack, width, n, empty = stack, stack.width, len(stack.weights), stack.empty
        self.grads, self.qkv_grads = empty(2 * n, width), empty(n, 3 * width)
        self.narrow, self.wide = empty(width), empty(4 * width)
        # Whether what goes into products is another number than the gradient of the stream.
        self.apart = stack.dtype != stack.wide_dtype or any(pair[0] is not None for d in stack.drops for pair in d[1:])
        self.stream_grad, self.delta = empty(width, wide=True), stack.xp.empty_like(stack.kept.log_sums[0])
        self.sums = Sums(stack.xp, n, stack.rows, width, stack.wide_dtype)

    def at_place(self, place: int, norm_grad: Array | None, above: Array) -> Array:
        """The gradient of the stream at a place, given that of the norm there and that of the stream above."""
        stack, parts = self.stack, self.sums.stream[place]
        rounded = self.grads[place - 1] if place else None
        result = rounded if place and not self.apart else self.stream_grad
        weight, _, _, mean, rstd = stack.norm(place)
        KERNELS.launch("add_norm_grad", self.grads, len(parts), norm_grad, stack.at(place), weight, mean, rstd,
                       above, result, rounded if self.apart else None, parts, stack.rows, stack.width, self.sums.group,
                       *stack.drop(place))
        return result

    def through_block(self, i: int, above: Array) -> Array:
        """The gradient of the stream before block i, given that behind it."""
        stack, kept, w, narrow = self.stack, self.stack.kept, self.stack.weights[i], self.narrow
        stack.product(self.grads[2 * i + 1], w.out.T, out=self.wide)
        self.sums.through_gelu(self.wide, kept.hidden[i], w.fc_bias, i)
        stack.product(kept.hidden[i], w.fc.T, out=narrow)
        above = self.at_place(2 * i + 1, narrow, above)
        stack.product(self.grads[2 * i], w.proj.T, out=narrow)
        attend_grads(stack.xp, stack.split(kept.qkv[i]), stack.split(narrow, 1)[0], stack.mask(i),
                     stack.attention[i], stack.split(self.qkv_grads[i]), self.delta)
        stack.product(self.qkv_grads[i], w.attn.T, out=narrow)
        return self.at_place(2 * i, narrow, above)

    def weight_grads(self) -> list[Weights]:
        """Those of all blocks."""
        kept, grads, n = self.stack.kept, self.grads, len(self.stack.weights)
        heads = kept.heads.reshape(n, self.stack.rows, self.stack.width)
        attn, proj, fc, out = (
            self._products(before, after) for before, after in (
                (kept.norms[0::2], self.qkv_grads), (heads, grads[0::2]), (kept.norms[1::2], kept.hidden),
                (kept.raised, grads[1::2])))
        stream, fc_bias = self.sums.totals()
        attn_bias = [None] * n if self.stack.weights[0].attn_bias is None else self.sums.of_rows(self.qkv_grads)
        return [Weights(stream[2 * i, 0], stream[2 * i, 1], attn[i], attn_bias[i], proj[i], stream[2 * i + 1, 2],
                        stream[2 * i + 1, 0], stream[2 * i + 1, 1], fc[i], fc_bias[i], out[i], stream[2 * i + 2, 2])
                for i in range(n)]

    def _products(self, before, after):
        """before[i]ᵀ after[i] of every block i."""
        shape = len(before), before.shape[-1], after.shape[-1]
        result = self.stack.xp.empty(shape, dtype=self.stack.wide_dtype)
        return self.stack.product(before.swapaxes(1, 2), after, out=result)


class Sums:
    """Sums over the rows of gradients: parts of them made by the kernels that pass by, all brought together at the end.

    Args:
        xp: the array package.
        n, rows, width, dtype: number of blocks, N, C, and the dtype of the sums.

    Attributes:
        group: rows of a part.
        stream: (2n + 1, parts, 3, C), of the gradients at each place: of weight and shift of the norm there, and of the
            bias that was added to it.
    """

    def __init__(self, xp, n: int, rows: int, width: int, dtype):
        self.xp, self.rows, self.width, self.dtype = xp, rows, width, dtype
        self.group = max(8, -(-rows // (8 * GROUPS)) * 8)
        self.stream = xp.empty((2 * n + 1, -(-rows // self.group), 3, width), dtype=dtype)
        self.chunk = max(CHUNK, rows >> 15)
        self.hidden = xp.empty((n, -(-rows // self.chunk), 4 * width), dtype=dtype)

    def through_gelu(self, g: Array, x: Array, bias: Array, block: int) -> None:
        """Turn x of gelu(x + bias) into its gradient, in place, given that of the result."""
        columns = 4 * self.width
        ACTIVATION.launch("bias_gelu_grad", x, (-(-columns // 32), self.hidden.shape[1]), g, x, bias, x,
                          self.hidden[block], self.rows, columns, self.chunk, threads=(32, 8))

    def totals(self) -> tuple[Array, Array]:
        """Of the stream, (2n + 1, 3, C), and of the biases of c_fc, (n, 4C)."""
        places, parts = self.stream.shape[:2]
        stream = self._brought_together(self.stream.reshape(places, parts, -1))
        return stream.reshape(places, 3, -1), self._brought_together(self.hidden)

    def of_rows(self, a: Array) -> Array:
        """(n, N, columns) -> (n, columns)."""
        n, rows, columns = a.shape
        sums = self.xp.empty((n, self.hidden.shape[1], columns), dtype=self.dtype)
        KERNELS.launch("sum_rows_of_each", a, (-(-columns // 32), sums.shape[1], n), a, sums, rows, columns, self.chunk,
                       threads=(32, 8))
        return self._brought_together(sums)

    def _brought_together(self, sums):
        """(n, parts, columns) -> (n, columns)"""
        n, parts, columns = sums.shape
        totals = self.xp.empty((n, columns), dtype=self.dtype)
        KERNELS.launch("sum_chunks_of_each", sums, (-(-columns // 32), n), sums, totals, parts, columns,
                       threads=(32, 8))
        return totals
