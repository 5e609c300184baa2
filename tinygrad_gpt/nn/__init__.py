"""Layers and the module tree."""

from tinygrad_gpt.nn.kv_cache import KVCache
from tinygrad_gpt.nn.layers import MLP, Block, CausalSelfAttention, Dropout, Embedding, LayerNorm, Linear
from tinygrad_gpt.nn.module import Module, Parameter

__all__ = [
    "MLP", "Block", "CausalSelfAttention", "Dropout", "Embedding", "KVCache", "LayerNorm", "Linear", "Module",
    "Parameter",
]
