"""The book's GPT in plain torch, built of the same parts in the same order, and its finetuning procedure's steps.

Three linear layers make queries, keys and values, the causal mask is filled in, layer norm and GELU are written in
elementary operations. After `torch.manual_seed` it has the values of `tinygrad_gpt.book.initial_values`.
Source: S. Raschka, *Build a Large Language Model (From Scratch)*, chapters 3, 4 and 6.
"""

import math

import torch
from torch import nn


class LayerNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x):
        mean, variance = x.mean(dim=-1, keepdim=True), x.var(dim=-1, keepdim=True, unbiased=False)
        return self.scale * ((x - mean) / torch.sqrt(variance + 1e-5)) + self.shift


class GELU(nn.Module):
    def forward(self, x):
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * torch.pow(x, 3))))


class Attention(nn.Module):
    def __init__(self, width, n_head, n_ctx):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.project = nn.Linear(width, width)
        self.n_head = n_head
        self.register_buffer("mask", torch.triu(torch.ones(n_ctx, n_ctx), diagonal=1))

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = (layer(x).view(batch, length, self.n_head, -1).transpose(1, 2)
                   for layer in (self.query, self.key, self.value))
        scores = q @ k.transpose(2, 3)
        scores.masked_fill_(self.mask.bool()[:length, :length], -torch.inf)
        weights = torch.softmax(scores / k.shape[-1] ** 0.5, dim=-1)
        return self.project((weights @ v).transpose(1, 2).contiguous().view(batch, length, width))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.attention = Attention(config.n_embd, config.n_head, config.n_ctx)
        self.feed_forward = nn.Sequential(nn.Linear(config.n_embd, 4 * config.n_embd), GELU(),
                                          nn.Linear(4 * config.n_embd, config.n_embd))
        self.norm_1, self.norm_2 = LayerNorm(config.n_embd), LayerNorm(config.n_embd)

    def forward(self, x):
        x = x + self.attention(self.norm_1(x))
        return x + self.feed_forward(self.norm_2(x))


class BookClassifier(nn.Module):
    """The book's model after section 6.5: a head of ``n_classes``, the last block and the final norm trained."""

    def __init__(self, config, n_classes, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.tokens = nn.Embedding(config.vocab_size, config.n_embd)
        self.positions = nn.Embedding(config.n_ctx, config.n_embd)
        self.blocks = nn.Sequential(*(Block(config) for _ in range(config.n_layer)))
        self.norm = LayerNorm(config.n_embd)
        for parameter in self.parameters():
            parameter.requires_grad = False
        torch.manual_seed(seed)
        self.head = nn.Linear(config.n_embd, n_classes)
        for parameter in (*self.blocks[-1].parameters(), *self.norm.parameters()):
            parameter.requires_grad = True

    def forward(self, ids):
        """ids (B, T) -> logits (B, T, n_classes)"""
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        return self.head(self.norm(self.blocks(x)))
