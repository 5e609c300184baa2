"""Layers and the module tree."""

from tinygrad_gpt.nn import functional, init, utils
from tinygrad_gpt.nn.activations import GELU, Flatten, Identity, LogSoftmax, ReLU, Sigmoid, SiLU, Softmax, Tanh
from tinygrad_gpt.nn.containers import ModuleDict, ModuleList, ParameterList, Sequential
from tinygrad_gpt.nn.kv_cache import KVCache
from tinygrad_gpt.nn.layers import MLP, Block, CausalSelfAttention, Conv1D, Dropout, Embedding, LayerNorm
from tinygrad_gpt.nn.linear import Linear
from tinygrad_gpt.nn.losses import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, MSELoss
from tinygrad_gpt.nn.module import Module
from tinygrad_gpt.nn.parameter import Parameter

__all__ = [
    "GELU",
    "MLP",
    "BCELoss",
    "BCEWithLogitsLoss",
    "Block",
    "CausalSelfAttention",
    "Conv1D",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "Identity",
    "KVCache",
    "LayerNorm",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "Module",
    "ModuleDict",
    "ModuleList",
    "Parameter",
    "ParameterList",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "functional",
    "init",
    "utils",
]
