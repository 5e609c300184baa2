"""A deeper GPT-2 with a longer context, from a trained one."""

from dataclasses import replace

import numpy as np

from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config

__all__ = ["grown"]


def grown(base: GPT2, n_layer: int, n_ctx: int, dropout: float = 0.0) -> GPT2:
    """A GPT-2 that computes what ``base`` does, with more blocks and positions to learn with.

    Each block is followed by copies of itself whose two ``c_proj`` are 0, so that they add nothing yet. A position
    beyond the context of the base starts as a copy of one of its second half.

    Args:
        base: the trained model.
        n_layer: blocks, a multiple of the base's.
        n_ctx: the context, at least the base's.
        dropout: probability, of the new model.

    Raises:
        UsageError: "n_layer is 6, but the base has 4 blocks; …"; or ``n_ctx`` is less than the base's.

    Source: Gong et al. 2019, "Efficient Training of BERT by Progressively Stacking"; the zeros from Chen et al. 2016,
        arXiv:1511.05641 (Net2Net), where the larger model begins as the same function.
    """
    own = base.config
    if n_layer % own.n_layer:
        raise UsageError(f"n_layer is {n_layer}, but the base has {own.n_layer} blocks; choose a multiple of that")
    if n_ctx < own.n_ctx:
        raise UsageError(f"n_ctx is {n_ctx}, but the context of the base is {own.n_ctx}; choose that or more")
    model = GPT2(replace(own, n_layer=n_layer, n_ctx=n_ctx, dropout=dropout), seed=None)
    arrays = base.arrays()
    model.load_state_dict({name: _grown(name, arrays, own, n_layer, n_ctx) for name in model.arrays()})
    return model


def _grown(name: str, arrays: dict[str, np.ndarray], own: GPT2Config, n_layer: int, n_ctx: int) -> np.ndarray:
    """One array of the grown model."""
    if name == "wpe.weight":
        half = -(-own.n_ctx // 2)
        beyond = own.n_ctx - half + np.arange(n_ctx - own.n_ctx) % half
        return arrays[name][np.concatenate([np.arange(own.n_ctx), beyond])]
    if not name.startswith("h."):
        return arrays[name]
    _, block, rest = name.split(".", 2)
    source, copy = divmod(int(block), n_layer // own.n_layer)
    array = arrays[f"h.{source}.{rest}"]
    return np.zeros_like(array) if copy and "c_proj" in rest else array
