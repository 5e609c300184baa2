"""The names of S. Raschka's book for the weights of a GPT-2, brought to those of Hugging Face.

    tok_emb.weight, pos_emb.weight                    wte.weight, wpe.weight
    trf_blocks.0.att.W_query.weight, W_key, W_value   the thirds of h.0.attn.c_attn.weight
    trf_blocks.0.att.out_proj.weight                  h.0.attn.c_proj.weight
    trf_blocks.0.ff.layers.0.weight, layers.2         h.0.mlp.c_fc.weight, h.0.mlp.c_proj.weight
    trf_blocks.0.norm1.scale, norm2.shift             h.0.ln_1.weight, h.0.ln_2.bias
    final_norm.scale, out_head.weight                 ln_f.weight, lm_head.weight or, of a classifier, score.weight
    trf_blocks.0.att.mask                             the causal mask, left out

A layer with LoRA (appendix E) has NAME.linear.weight, NAME.lora.A and NAME.lora.B in place of NAME.weight.

Source: *Build a Large Language Model (From Scratch)*, listings 3.5, 4.2 to 4.7, 5.5, 6.7 and E.5.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from tinygrad_gpt.checkpoints.mapped_tensor import ComputedTensor, FileTensor
from tinygrad_gpt.errors import CheckpointError

__all__ = ["from_book", "is_book"]

OUTSIDE = {"tok_emb": "wte", "pos_emb": "wpe", "final_norm": "ln_f", "out_head": "lm_head"}
INSIDE = {"att.W_query": "q", "att.W_key": "k", "att.W_value": "v", "att.out_proj": "attn.c_proj",
          "ff.layers.0": "mlp.c_fc", "ff.layers.2": "mlp.c_proj", "norm1": "ln_1", "norm2": "ln_2"}
KINDS = {"weight": "weight", "bias": "bias", "scale": "weight", "shift": "bias"}
MASK = re.compile(r"trf_blocks\.\d+\.att\.mask")


def is_book(tensors: Mapping[str, FileTensor]) -> bool:
    """Whether they have the book's names."""
    return "tok_emb.weight" in tensors


def from_book(tensors: Mapping[str, FileTensor], lora_alpha: Any = None) -> dict[str, FileTensor]:
    """Return the tensors under the names of Hugging Face; matrices are (out, in) on both sides of the change.

    Args:
        tensors: under the book's names.
        lora_alpha: the factor of A B, which the book's files do not hold; any value of a config.json.

    Raises:
        CheckpointError: "it has LoRA matrices, …" without ``lora_alpha``; or two that do not fit.
    """
    renamed = {_renamed(name): tensor for name, tensor in _merged(tensors, lora_alpha).items()
               if not MASK.fullmatch(name)}
    for name in [name for name in renamed if ".q." in name]:
        thirds = [name.replace(".q.", f".{letter}.") for letter in "qkv"]
        if all(third in renamed for third in thirds):
            joined = [renamed.pop(third) for third in thirds]
            renamed[name.replace(".q.", ".attn.c_attn.")] = _joined(name, joined)
    head, embedding = renamed.get("lm_head.weight"), renamed["wte.weight"]
    if head is not None and head.shape[:1] != embedding.shape[:1]:  # chapter 6 puts classes where the tokens were
        renamed["score.weight"] = renamed.pop("lm_head.weight")
        if "lm_head.bias" in renamed:
            renamed["score.bias"] = renamed.pop("lm_head.bias")
    return renamed


def _renamed(name: str) -> str:
    """The name in Hugging Face's terms, where q, k and v are thirds of attn.c_attn; another name stays as it is."""
    layer, _, kind = name.rpartition(".")
    block = re.fullmatch(r"trf_blocks\.(\d{1,9})\.(.+)", layer)
    if kind not in KINDS or (block[2] not in INSIDE if block else layer not in OUTSIDE):
        return name
    return f"h.{block[1]}.{INSIDE[block[2]]}.{KINDS[kind]}" if block else f"{OUTSIDE[layer]}.{KINDS[kind]}"


def _joined(name: str, thirds: list[FileTensor]) -> FileTensor:
    """Rows of queries, keys and values below each other."""
    first = thirds[0]
    if any((third.shape, third.dtype) != (first.shape, first.dtype) for third in thirds) or not first.shape:
        raise CheckpointError(f"the query, key and value of {name!r:.60} differ in shape or dtype; use another copy")
    return ComputedTensor(first.dtype, (3 * first.shape[0], *first.shape[1:]),
                          lambda: np.concatenate([third.load() for third in thirds]))


def _merged(tensors: Mapping[str, FileTensor], alpha: Any) -> dict[str, FileTensor]:
    """The tensors with A B added to the weights that have it."""
    layers = {name.removesuffix(".lora.A") for name in tensors if name.endswith(".lora.A")}
    if layers and (isinstance(alpha, bool) or not isinstance(alpha, int | float)):
        raise CheckpointError("it has LoRA matrices, but not the alpha that they were trained with (16 in the book); "
                              'put {"lora_alpha": …} into a config.json beside the weights')
    merged = {name.replace(".linear.", ".") if name.rpartition(".linear.")[0] in layers else name: tensor
              for name, tensor in tensors.items() if not name.endswith((".lora.A", ".lora.B"))}
    for layer in layers:
        weight, a, b = merged.get(f"{layer}.weight"), tensors[f"{layer}.lora.A"], tensors.get(f"{layer}.lora.B")
        if weight is None or b is None or not all(tensor.is_float and len(tensor.shape) == 2
                                                  for tensor in (weight, a, b)) \
                or (b.shape[1], a.shape[0], a.shape[1]) != (*weight.shape, b.shape[0]):
            raise CheckpointError(f"the LoRA matrices of {layer!r:.60} do not fit its weights; use another copy")
        merged[f"{layer}.weight"] = ComputedTensor("F32", weight.shape, partial(_updated, weight, a, b, alpha))
    return merged


def _updated(weight: FileTensor, a: FileTensor, b: FileTensor, alpha: float) -> np.ndarray:
    """W + alpha (A B)ᵀ, (out, in)."""
    return weight.load() + np.float32(alpha) * (a.load() @ b.load()).T
