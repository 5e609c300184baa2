"""The sizes of a published GPT-2: what its config.json says, and what the shapes of its weights say.

A setting that would change what the model computes, and that this package does not have, is refused by name.
"""

import re
from collections.abc import Mapping
from typing import Any

from tinygrad_gpt.errors import CheckpointError

__all__ = ["from_published", "shapes_of", "to_published"]

Shapes = Mapping[str, tuple[int, ...]]

SIZES = {"vocab_size": ("vocab_size",), "n_ctx": ("n_positions", "max_position_embeddings"),
         "n_embd": ("n_embd", "hidden_size"), "n_layer": ("n_layer", "num_hidden_layers"),
         "n_head": ("n_head", "num_attention_heads")}  # our name: Hugging Face's, GPT-2's own before the general one
TANH_GELU = ("gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_accurate", "gelu_fast")  # one function
ONLY = {"model_type": "gpt2", "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False, "is_encoder_decoder": False}
GPT2_WIDTHS = (768, 1024, 1280, 1600)  # all with heads of 64


def from_published(content: Mapping[str, Any] | None, shapes: Shapes) -> dict[str, Any]:
    """The fields of a GPT2Config without dropout, which belongs to a training run.

    Args:
        content: of config.json, or None where there is none; it decides on the sizes that it names.
        shapes: of the tensors by name, without the prefix "transformer."; (out, in) for "lm_head.weight".

    Raises:
        CheckpointError: a reason without the file's name: "activation_function is 'relu', and only 'gelu_new' …";
            "n_head: no config.json says it, and the width 48 does not tell it; …".

    Source: `GPT2Config` of transformers, with its `attribute_map`.
    """
    content = content or {}
    problems = [f"{name} is {content[name]!r:.60}, and only {only!r} is known here"
                for name, only in ONLY.items() if content.get(name, only) != only]
    if content.get("activation_function", "gelu_new") not in TANH_GELU:
        problems += [f"activation_function is {content['activation_function']!r:.60}, and only 'gelu_new' is known "
                     "here"]
    sizes, wrong = _named_sizes(content)
    problems += wrong
    eps = content.get("layer_norm_epsilon", 1e-5)
    if not isinstance(eps, float) or not 0 < eps < 1:
        problems += [f"layer_norm_epsilon is {eps!r:.60}, not a number between 0 and 1"]
    if type(content.get("tie_word_embeddings", True)) is not bool:
        problems += [f"tie_word_embeddings is {content['tie_word_embeddings']!r:.60}, not true or false"]
    if problems:
        raise CheckpointError(f"{'; '.join(problems)}; give a GPT-2 that this package can compute")
    if "model_type" in content:
        sizes.setdefault("n_head", 12)  # as transformers reads a config of its own that does not say it
    config = _derived(sizes, shapes) | {
        "layer_norm_epsilon": eps, "tied_head": content.get("tie_word_embeddings", "lm_head.weight" not in shapes),
        "qkv_bias": any(name.endswith(".attn.c_attn.bias") for name in shapes)}
    if content.get("n_inner") not in (None, 4 * config["n_embd"]):
        raise CheckpointError(f"n_inner is {content['n_inner']!r:.60}, and only 4 n_embd = {4 * config['n_embd']} is "
                              "known here; give a GPT-2 that this package can compute")
    return config


def _named_sizes(content: Mapping[str, Any]) -> tuple[dict[str, int], list[str]]:
    """The sizes that a config says, under our names, and what is wrong with them."""
    sizes, problems = {}, []
    for ours, names in SIZES.items():
        said = {name: content[name] for name in names if content.get(name) is not None}
        problems += [f"{name} is {size!r:.60}, not a whole number from 1 on"
                     for name, size in said.items() if type(size) is not int or not 1 <= size < 2**31]
        if len(said) == 2 and len(set(map(repr, said.values()))) == 2:
            problems += [" but ".join(f"{name} is {size!r:.60}" for name, size in said.items())]
        elif said:
            sizes[ours] = next(iter(said.values()))
    return sizes, problems


def _derived(sizes: dict[str, int], shapes: Shapes) -> dict[str, int]:
    """Fill in what the config does not say."""
    for ours, name, axis in (("vocab_size", "wte.weight", 0), ("n_embd", "wte.weight", 1), ("n_ctx", "wpe.weight", 0)):
        if ours not in sizes:
            if len(shapes.get(name, ())) != 2 or 0 in shapes[name]:
                raise CheckpointError(f"it has no matrix {name}, which tells {SIZES[ours][0]}; its first tensors are "
                                      f"{sorted(shapes)[:3]}; give a GPT-2")
            sizes[ours] = shapes[name][axis]
    blocks = {int(match[1]) for name in shapes if (match := re.match(r"h\.(\d{1,9})\.", name))}
    n_layer = sizes.setdefault("n_layer", max(blocks, default=0) + 1)
    if n_layer > len(shapes):
        raise CheckpointError(f"n_layer is {n_layer}, but the file has {len(shapes)} tensors in all; use another copy")
    width = sizes["n_embd"]
    if "n_head" not in sizes:
        if width not in GPT2_WIDTHS:
            raise CheckpointError(f"n_head: no config.json says it, and the width {width} does not tell it; put "
                                  f'{{"n_head": …}} into a config.json beside the weights')
        sizes["n_head"] = width // 64
    if width % sizes["n_head"]:
        raise CheckpointError(f"n_embd is {width}, not a multiple of n_head = {sizes['n_head']}; use another copy")
    return sizes


def shapes_of(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of a published GPT-2, in its order, without the prefix "transformer."."""
    width, vocab_size = config["n_embd"], config["vocab_size"]
    shapes: dict[str, tuple[int, ...]] = {"wte.weight": (vocab_size, width), "wpe.weight": (config["n_ctx"], width)}
    layers = {"attn.c_attn": (width, 3 * width), "attn.c_proj": (width, width),
              "mlp.c_fc": (width, 4 * width), "mlp.c_proj": (4 * width, width)}
    norms = ["ln_f"]
    for i in range(config["n_layer"]):
        norms += [f"h.{i}.ln_1", f"h.{i}.ln_2"]
        for layer, shape in layers.items():
            shapes[f"h.{i}.{layer}.weight"] = shape
            if layer != "attn.c_attn" or config["qkv_bias"]:
                shapes[f"h.{i}.{layer}.bias"] = shape[1:]
    for norm in norms:
        shapes[f"{norm}.weight"] = shapes[f"{norm}.bias"] = (width,)
    if not config["tied_head"]:
        shapes["lm_head.weight"] = (vocab_size, width)
    return shapes


def to_published(config: Mapping[str, Any], eot_id: int) -> dict[str, Any]:
    """The content of a config.json for a config of ours."""
    rates = dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), config["dropout"])
    sizes = {names[0]: config[ours] for ours, names in SIZES.items()}
    return {"architectures": ["GPT2LMHeadModel"], "activation_function": "gelu_new", **ONLY, **sizes,
            "n_inner": None, "layer_norm_epsilon": config["layer_norm_epsilon"], **rates,
            "tie_word_embeddings": config["tied_head"], "bos_token_id": eot_id, "eos_token_id": eot_id}
