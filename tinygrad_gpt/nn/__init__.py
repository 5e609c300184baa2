"""Layers and the module tree."""

from tinygrad_gpt.nn.layers import MLP, Block, CausalSelfAttention, Dropout, Embedding, LayerNorm, Linear
from tinygrad_gpt.nn.module import Module, Parameter

__all__ = [
    "MLP", "Block", "CausalSelfAttention", "Dropout", "Embedding", "LayerNorm", "Linear", "Module", "Parameter",
]
