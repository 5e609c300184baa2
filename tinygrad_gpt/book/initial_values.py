"""Models before their first step, with GPT-2's initial values or with the book's, from PyTorch's random numbers."""

from dataclasses import asdict

import numpy as np

from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.nn import init
from tinygrad_gpt.random import TorchStream

__all__ = ["initial_values", "new_model"]


def new_model(config: GPT2Config, init: str, seed: int) -> GPT2:
    """A model before its first step.

    Args:
        config: its sizes.
        init: whose initial values, "gpt2" or "book".
        seed: of them.
    """
    if init == "gpt2":
        return GPT2(config, seed=seed)
    model, sizes = GPT2(config, seed=None), asdict(config)
    model.load_state_dict(initial_values(TorchStream(seed), **{name: sizes[name] for name in (
        "vocab_size", "n_ctx", "n_embd", "n_layer", "qkv_bias", "tied_head")}))
    return model


def initial_values(stream: TorchStream, *, vocab_size: int, n_ctx: int, n_embd: int, n_layer: int,
                   qkv_bias: bool = False, tied_head: bool = False) -> dict[str, np.ndarray]:
    """The values that the GPT of the book starts from, under GPT-2's names and in its layout, for `load_state_dict`.

    Embeddings are normal with variance 1, linear layers are uniform between ±1/√n_in; both are PyTorch's defaults.

    Args:
        stream: `TorchStream(123)` where the book says `torch.manual_seed(123)`; it goes on where the model ends.
        vocab_size, n_ctx, n_embd, n_layer, qkv_bias, tied_head: sizes, as in `GPT2Config`. The book has no bias
            in the queries, keys and values and a head of its own.

    Source: S. Raschka, *Build a Large Language Model (From Scratch)*, chapter 4; the order is that in which its
    model makes its layers.
    """
    state = {"wte.weight": stream.normal(vocab_size, n_embd), "wpe.weight": stream.normal(n_ctx, n_embd)}
    for block in (f"h.{i}." for i in range(n_layer)):
        qkv = [stream.linear(n_embd, n_embd, qkv_bias) for _ in range(3)]
        _linear(state, f"{block}attn.c_attn", np.concatenate([weight for weight, _ in qkv]),
                np.concatenate([bias for _, bias in qkv]) if qkv_bias else None)
        _linear(state, f"{block}attn.c_proj", *stream.linear(n_embd, n_embd))
        _linear(state, f"{block}mlp.c_fc", *stream.linear(n_embd, 4 * n_embd))
        _linear(state, f"{block}mlp.c_proj", *stream.linear(4 * n_embd, n_embd))
    for norm in ("ln_f", *(f"h.{i}.ln_{k}" for i in range(n_layer) for k in (1, 2))):
        state |= {f"{norm}.weight": init.ones(n_embd), f"{norm}.bias": init.zeros(n_embd)}
    if not tied_head:
        _linear(state, "lm_head", *stream.linear(n_embd, vocab_size, bias=False))
    return state


def _linear(state, name, weight, bias):
    """PyTorch keeps (n_out, n_in), GPT-2 (n_in, n_out)."""
    state[f"{name}.weight"] = weight.T
    if bias is not None:
        state[f"{name}.bias"] = bias
