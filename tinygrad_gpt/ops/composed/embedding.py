"""Embedding as a selection."""

from tinygrad_gpt.engine import composed

__all__ = ["embedding"]


@composed("embedding")
def embedding(weight, ids):
    return weight[ids]
