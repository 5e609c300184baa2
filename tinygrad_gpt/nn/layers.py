"""The layers of GPT-2, under the names that its weights have."""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_gpt import ops
from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.engine.mode import no_grad
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.nn import functional, init
from tinygrad_gpt.nn.kv_cache import LayerCache
from tinygrad_gpt.nn.module import Module, Parameter
from tinygrad_gpt.nn.parameter import floating
from tinygrad_gpt.nn.precision_casts import to_compute, to_float32
from tinygrad_gpt.ops.attention import merge_heads, split_heads
from tinygrad_gpt.random import default_generator

__all__ = ["MLP", "Block", "CausalSelfAttention", "Conv1D", "Dropout", "Embedding", "LayerNorm"]


class Conv1D(Module):
    """``x W + b`` with ``weight`` (n_in, n_out), GPT-2's own layout, and ``bias`` (n_out) or None.

    The name is that of OpenAI's code and of transformers; `Linear` is the same map in PyTorch's layout.
    It computes, and its result is, in the dtype of the policy of `precision.py`; the weights stay in float32.
    """

    def __init__(self, n_in: int, n_out: int, generator: "np.random.Generator | None", bias: bool = True,
                 std: float = 0.02):
        self.weight = Parameter(init.normal(generator, n_in, n_out, std=std))
        self.bias = Parameter(init.zeros(n_out)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(..., n_in) -> (..., n_out)"""
        return ops.linear(to_compute(x), to_compute(self.weight), to_compute(self.bias))

    def product(self, x: Tensor) -> Tensor:
        """As `forward`, but without the bias, for a layer that adds it in its next step."""
        return ops.linear(to_compute(x), to_compute(self.weight))

    def columns(self, x: Tensor, start: int, stop: int) -> Tensor:
        """Some of the outputs: (..., n_in) -> (..., stop - start)."""
        bias = None if self.bias is None else self.bias[start:stop]
        return ops.linear(to_compute(x), to_compute(self.weight[:, start:stop]), to_compute(bias))

    def weight_columns(self, start: int, stop: int) -> Tensor:
        """The weights of some of the outputs, (n_in, stop - start)."""
        return self.weight[:, start:stop]

    def extra_repr(self) -> str:
        n_in, n_out = self.weight.shape
        return f"nf={n_out}, nx={n_in}"  # as transformers prints it


class Embedding(Module):
    """A table of which ids pick rows.

    Args:
        num_embeddings, embedding_dim: shape (n, C) of the table ``weight``.
        padding_idx: a row that starts as zeros and gets no gradient.
        device, dtype: where the parameters are and what they hold; drawn in float32, then converted.
        weight: (n, C), its initial values; None: normal with variance 1 from the default generator, as in PyTorch.

    Source: torch.nn.Embedding.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, device=None,
                 dtype=None, *, weight=None):
        self.num_embeddings, self.embedding_dim, self.padding_idx = num_embeddings, embedding_dim, padding_idx
        self.weight = Parameter(np.empty((num_embeddings, embedding_dim), np.float32) if weight is None else weight)
        if weight is None:
            self.reset_parameters()
        self.to(device=device, dtype=floating(dtype))

    def reset_parameters(self) -> None:
        """Draw new initial values from the default generator."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx] = 0.0

    def forward(self, ids) -> Tensor:
        """ids (...) integers -> (..., C)"""
        return functional.embedding(ids, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class LayerNorm(Module):
    """Normalise the last axes, then scale and shift by ``weight`` and ``bias`` of their shape.

    Args:
        normalized_shape: sizes of those axes; a number for the last one.
        eps: added to the variance.
        elementwise_affine: whether there are a weight and a bias; without, both are None.
        bias: whether there is a bias, where there is a weight.
        device, dtype: where the parameters are and what they hold.

    Source: torch.nn.LayerNorm.
    """

    def __init__(self, normalized_shape: int | Sequence[int], eps: float = 1e-5, elementwise_affine: bool = True,
                 bias: bool = True, device=None, dtype=None):
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape, self.eps, self.elementwise_affine = shape, eps, elementwise_affine
        self.weight = Parameter(init.ones(*shape)) if elementwise_affine else None
        self.bias = Parameter(init.zeros(*shape)) if elementwise_affine and bias else None
        self.to(device=device, dtype=floating(dtype))

    def forward(self, x: Tensor) -> Tensor:
        """(..., *normalized_shape) -> the same shape"""
        if self.bias is None or len(self.normalized_shape) > 1:
            return functional.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return ops.layer_norm(x, self.weight, self.bias, eps=self.eps)

    def extra_repr(self) -> str:
        affine = f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        return f"{self.normalized_shape}, eps={self.eps}, {affine}"


class Dropout(Module):
    """Zero each value with probability ``p`` while training.

    The masks come from the default generator, as PyTorch draws them. In a training run, ``stream`` is set: then they
    are a pure function of it and the number of calls since, so a run that is resumed at a step, on any backend, draws
    the masks that it would have drawn. Where ``rows`` is set, a call has some rows of a batch, and gets their rows of
    the mask of the whole batch.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False):
        if not 0 <= p < 1:
            raise UsageError(f"Dropout: p is {p}, expected 0 ≤ p < 1")
        self.p, self.inplace = p, inplace
        self.stream: tuple[int, ...] | None = None
        self.calls = 0
        self.rows = slice(0, 1)  # of the batch; those of a whole one begin at 0, whatever their number

    @property
    def active(self) -> bool:
        """Whether it drops anything now."""
        return self.training and self.p > 0

    def state(self) -> dict[str, Any]:
        """What the next masks depend on, for `restore`."""
        return {"training": self.training, **vars(self), "default": default_generator.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state, so that the same masks are drawn again."""
        vars(self).update({name: value for name, value in state.items() if name != "default"})
        default_generator.restore(state["default"])

    def mask(self, like: Tensor, shape: tuple[int, ...]):
        """The next mask (shape), bool, on the backend of ``like``; None when not active."""
        if not self.active:
            return None
        if self.stream is None:
            return backend_of(like.data).from_numpy(default_generator.keep(self.p, *shape))
        seed, p, start = self.hashed(shape)
        return ops.keep_mask(backend_of(like.data), seed, shape, p, start)

    def hashed(self, shape: tuple[int, ...]) -> tuple[int | None, float, int]:
        """Seed (None when not active), probability and first place of the next mask (shape), where ``stream`` is set.
        """
        if not self.active:
            return None, 0.0, 0
        assert self.stream is not None
        self.calls += 1
        digest = hashlib.blake2b(repr((*self.stream, self.calls)).encode(), digest_size=8).digest()
        start = self.rows.start * math.prod(shape) // (self.rows.stop - self.rows.start)
        return int.from_bytes(digest, "little"), self.p, start

    def forward(self, x: Tensor) -> Tensor:
        """(...) -> (...)"""
        return ops.dropout(x, self.mask(x, x.shape), p=self.p) if self.active else x

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class CausalSelfAttention(Module):
    """Multi-head self-attention: ``c_attn`` (C, 3C) makes queries, keys and values, ``c_proj`` (C, C) mixes heads."""

    def __init__(self, width: int, n_head: int, generator: "np.random.Generator | None", *,
                 dropout: float, qkv_bias: bool, proj_std: float):
        self.c_attn = Conv1D(width, 3 * width, generator, bias=qkv_bias)
        self.c_proj = Conv1D(width, width, generator, std=proj_std)
        self.attn_dropout = Dropout(dropout)
        self.n_head = n_head

    def forward(self, x: Tensor, cache: LayerCache | None = None) -> Tensor:
        """(B, T, C) -> (B, T, C); with a cache x follows the tokens that it holds."""
        if cache is not None:
            return self.c_proj(self._cached(self.c_attn(x), cache))
        batch, length, _ = x.shape
        keep = self.attn_dropout.mask(x, (batch, self.n_head, length, length))
        y = ops.self_attention(self.c_attn(x), None, keep, n_head=self.n_head, p=self.attn_dropout.p)
        return self.c_proj(y)

    def _cached(self, qkv: Tensor, cache: LayerCache) -> Tensor:
        """qkv (B, n, 3C) of new tokens -> (B, n, C): they see themselves and what the cache holds. On no tape."""
        q, k, v = split_heads(qkv.data, self.n_head)  # (B, H, n, D) each
        keys, values = cache.extend(k, v)  # (B, H, m, D)
        allowed = None if cache.allowed is None else cache.allowed[:, 0]  # (B, n, m)
        return Tensor(merge_heads(ops.attention.on_arrays(q, keys, values, allowed, causal=False)))


class MLP(Module):
    """``c_fc`` (C, 4C), GELU, ``c_proj`` (4C, C)."""

    def __init__(self, width: int, generator: "np.random.Generator | None", *, proj_std: float):
        self.c_fc = Conv1D(width, 4 * width, generator)
        self.c_proj = Conv1D(4 * width, width, generator, std=proj_std)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)"""
        return self.c_proj(ops.bias_gelu(self.c_fc.product(x), to_compute(self.c_fc.bias)))


class Block(Module):
    """Pre-norm transformer block: x + attn(ln_1(x)), then x + mlp(ln_2(x))."""

    def __init__(self, width: int, n_head: int, generator: "np.random.Generator | None", *,
                 n_layer: int, dropout: float, qkv_bias: bool, eps: float):
        proj_std = 0.02 / math.sqrt(2 * n_layer)  # so that the residual stream keeps its scale (GPT-2, section 2.3)
        self.ln_1 = LayerNorm(width, eps)
        self.attn = CausalSelfAttention(width, n_head, generator, dropout=dropout, qkv_bias=qkv_bias, proj_std=proj_std)
        self.ln_2 = LayerNorm(width, eps)
        self.mlp = MLP(width, generator, proj_std=proj_std)
        self.resid_dropout = Dropout(dropout)

    def forward(self, x: Tensor, cache: LayerCache | None = None) -> Tensor:
        """(B, T, C) -> (B, T, C); the cache is this layer's."""
        x = x + to_float32(self.resid_dropout(self.attn(self.ln_1(x), cache)))
        return x + to_float32(self.resid_dropout(self.mlp(self.ln_2(x))))
