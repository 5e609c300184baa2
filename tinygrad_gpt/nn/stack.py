"""Blocks one after another; on a GPU as one op, where they are as GPT-2 has them."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.backend.precision import current_precision, is_half
from tinygrad_gpt.engine.mode import current_mode
from tinygrad_gpt.engine.pending import Part
from tinygrad_gpt.engine.registry import Op
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.nn.kv_cache import Chunk, KVCache
from tinygrad_gpt.nn.layers import MLP, Block, CausalSelfAttention, Conv1D, Dropout, LayerNorm
from tinygrad_gpt.nn.module import Module
from tinygrad_gpt.ops.cuda.attention import has_kernels
from tinygrad_gpt.ops.cuda.blocks import Drops, Stack, Weights
from tinygrad_gpt.ops.cuda.decoding import LARGEST_BATCH, Places, decoded
from tinygrad_gpt.ops.cuda.lowered import lowered
from tinygrad_gpt.parallel.group import current_group

__all__ = ["through", "through_cached"]

TYPES = [Block, LayerNorm, CausalSelfAttention, Conv1D, Conv1D, Dropout, LayerNorm, MLP, Conv1D, Conv1D, Dropout]
NORMS = {"ln_1", "ln_1_bias", "ln_2", "ln_2_bias"}  # of `Weights`, float32 in each precision


def through(blocks: Iterable[Module], x: Tensor) -> Tensor:
    """The blocks one after another, (B, T, C) -> (B, T, C).

    On a GPU, neighbours that are plain ones, all trained or all frozen, are one op (`ops/cuda/blocks.py`). Where
    several processes train, each is one, so that its gradients are sent while those of others are computed.
    """
    kinds, several = [(block, _kind(block, x)) for block in blocks], current_group().size > 1
    for kind, group in itertools.groupby(kinds, lambda pair: pair[1]):
        neighbours = [block for block, _ in group]
        if kind is not None:
            for together in [[block] for block in neighbours] if several else [neighbours]:
                x = _as_one(together, x)
        else:
            for block in neighbours:
                x = block(x)
    return x


def through_cached(blocks: Iterable[Module], x: Tensor, cache: KVCache, chunk: Chunk) -> Tensor:
    """The blocks one after another at the tokens of a chunk, (B, n, C) -> (B, n, C), on no tape.

    On a GPU plain blocks take few kernels for one token of each text (`ops/cuda/decoding.py`).
    """
    (batch, n, _), rows = x.shape, chunk.real[0]
    listed: list[Any] = list(blocks)
    few = n == 1 and batch <= LARGEST_BATCH and (isinstance(rows, slice) or len(rows) == batch)  # no row is padding
    kinds = {kind and kind[1:] for kind in (_kind(block, x) for block in listed)} if few else {None}
    kind = kinds.pop()
    if kind is None or kinds or kind[-1]:  # some are not plain, or differ, or have dropout
        for block, layer in zip(listed, cache.layers, strict=True):
            x = block(x, layer)
        return x
    allowed = None if chunk.allowed is None else chunk.allowed[:, 0]  # (B, 1, m)
    places = Places(chunk.positions, int(chunk.ends.max()), allowed)
    caches = [(layer.keys, layer.values) for layer in cache.layers]
    return Tensor(decoded(x.data, _arrays(listed, x), caches, places, listed[0].attn.n_head, listed[0].ln_1.eps))


def _kind(block: Any, x: Tensor) -> tuple | None:
    """What blocks must have in common to be one op; None for a block that is not as GPT-2 has it, or no GPU."""
    backend, mode = backend_of(x.data), current_mode()
    if backend.launch is None or mode.ops not in ("fast", "compiled") or mode.checking or mode.observer is not None:
        return None
    modules = [module for _, module in block.named_modules()]
    if [type(module) for module in modules] != TYPES or any(module._hooks is not None for module in modules):
        return None
    active = [layer for layer in (block.resid_dropout, block.attn.attn_dropout) if layer.active]
    if any(layer.stream is None for layer in active) or (active and current_group().size > 1):
        return None  # masks that are not hashed, or are rows of those of a batch that processes share
    weights, n_head, norms = _weights(block), block.attn.n_head, (block.ln_1, block.ln_2)
    present = [w for w in weights if w is not None]
    if (len(present) < len(weights) - (weights.attn_bias is None) or len({norm.eps for norm in norms}) > 1
            or {w.dtype for w in present} != {x.dtype} or not all(w.data.flags.c_contiguous for w in present)
            or len({w.requires_grad for w in present}) > 1 or not x.data.size
            or not has_kernels(x.data.reshape(*x.shape[:-1], n_head, -1))):
        return None
    return present[0].requires_grad, n_head, block.ln_1.eps, weights.attn_bias is None, bool(active)


def _weights(block) -> Weights:
    """Its parameters."""
    attn, mlp = block.attn, block.mlp
    layers = block.ln_1, attn.c_attn, attn.c_proj, block.ln_2, mlp.c_fc, mlp.c_proj
    return Weights(*(parameter for layer in layers for parameter in (layer.weight, layer.bias)))


def _as_one(blocks: Sequence[Any], x: Tensor) -> Tensor:
    """The blocks as one op, on the tape together with all their parameters."""
    weights, n_head, eps = _arrays(blocks, x), blocks[0].attn.n_head, blocks[0].ln_1.eps
    scores = len(x), n_head, x.shape[1], x.shape[1]
    drops = [Drops(block.attn.attn_dropout.hashed(scores), block.resid_dropout.hashed(x.shape),
                   block.resid_dropout.hashed(x.shape)) for block in blocks]

    def blocks_(xp, *arrays, needs_input_grad=(False,)):
        stack = Stack(arrays[0], weights, n_head, eps, any(needs_input_grad), drops)
        y, kept = stack.forward()

        def grads(g):
            x_grad, weight_grads = stack.backward(kept, g, any(needs_input_grad[1:]))
            parts = [grad for block in weight_grads for grad in block] or [None] * (len(arrays) - 1)
            return x_grad, *(grad if grad is None else Part(grad) for grad in parts)

        return y, grads

    return Op(blocks_)(x, *(p for block in blocks for p in _weights(block)))


def _arrays(blocks, x):
    """The weights of blocks, those of products in the dtype of the policy in force."""
    parameters, dtype = [_weights(block) for block in blocks], current_precision().dtype
    if not is_half(dtype) or x.dtype != "float32":
        return [Weights(*(p if p is None else p.data for p in block)) for block in parameters]
    flat = [p for block in parameters for name, p in block._asdict().items() if name not in NORMS and p is not None]
    copies = iter(lowered(flat, dtype))
    return [Weights(*(p if p is None else p.data if name in NORMS else next(copies)
                      for name, p in block._asdict().items())) for block in parameters]
