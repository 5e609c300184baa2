"""The sizes of a published encoder: what its config.json says, for the BERT, DistilBERT and RoBERTa families.

A setting that would change what the model computes, and that this package does not have, is refused by name.
"""

from collections.abc import Mapping
from typing import Any

from tinygrad_gpt.checkpoints.gpt2_config import TANH_GELU
from tinygrad_gpt.errors import CheckpointError

__all__ = ["FAMILIES", "bert_config", "bert_shapes", "position_offset", "to_bert"]

Shapes = Mapping[str, tuple[int, ...]]

BERT = {"vocab_size": "vocab_size", "n_ctx": "max_position_embeddings", "n_embd": "hidden_size",
        "n_layer": "num_hidden_layers", "n_head": "num_attention_heads", "n_inner": "intermediate_size"}
DISTILBERT = BERT | {"n_embd": "dim", "n_layer": "n_layers", "n_head": "n_heads", "n_inner": "hidden_dim"}
FAMILIES = {"bert": BERT, "distilbert": DISTILBERT, "roberta": BERT}
"""Of each family, by its model_type, the names that it gives the sizes."""
DEFAULTS = {"vocab_size": 30522, "n_ctx": 512, "n_embd": 768, "n_layer": 12, "n_head": 12, "n_inner": 3072}
OTHERS = {"distilbert": {"n_layer": 6}, "roberta": {"vocab_size": 50265}, "bert": {}}
ONLY = {"position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False}
EXACT_GELU = ("gelu", "gelu_python")


def bert_config(content: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a BertConfig without dropout and without a pooler, which the weights tell.

    Args:
        content: of config.json; what it leaves out is as in transformers.

    Raises:
        CheckpointError: a reason without the file's name: "hidden_act is 'silu', and only …".

    Source: `BertConfig`, `DistilBertConfig` and `RobertaConfig` of transformers.
    """
    family = content.get("model_type")
    if family not in tuple(FAMILIES):  # it may be anything
        raise CheckpointError(f"model_type is {family!r:.60}, and only {', '.join(FAMILIES)} are known here; give an "
                              "encoder of these families")
    problems = [f"{name} is {content[name]!r:.60}, and only {only!r} is known here"
                for name, only in ONLY.items() if content.get(name, only) != only]
    sizes = {}
    for ours, name in FAMILIES[family].items():
        size = content.get(name, OTHERS[family].get(ours, DEFAULTS[ours]))
        if type(size) is not int or not 1 <= size < 2**31:
            problems += [f"{name} is {size!r:.60}, not a whole number from 1 on"]
        sizes[ours] = size
    eps = content.get("layer_norm_eps", 1e-12) if family != "distilbert" else 1e-12
    if type(eps) is not float or not 0 < eps < 1:
        problems += [f"layer_norm_eps is {eps!r:.60}, not a number between 0 and 1"]
    n_types = content.get("type_vocab_size", 2) if family != "distilbert" else 0
    if type(n_types) is not int or not 0 <= n_types < 2**31:
        problems += [f"type_vocab_size is {n_types!r:.60}, not a whole number"]
    named = "activation" if family == "distilbert" else "hidden_act"
    activation = _activation(content.get(named, "gelu"))
    if activation is None:
        problems += [f"{named} is {content[named]!r:.60}, and only 'gelu', 'gelu_new' and 'relu' are known here"]
    offset = position_offset(content)
    if not problems and offset >= sizes["n_ctx"]:
        problems += [f"pad_token_id is {offset - 1}, but there are {sizes['n_ctx']} positions"]
    if problems:
        raise CheckpointError(f"{'; '.join(problems)}; give an encoder that this package can compute")
    if sizes["n_embd"] % sizes["n_head"]:
        raise CheckpointError(f"its width is {sizes['n_embd']}, not a multiple of its {sizes['n_head']} attention "
                              "heads; use another copy")
    sizes["n_ctx"] -= offset
    return sizes | {"n_types": n_types, "activation": activation, "layer_norm_epsilon": eps, "family": family}


def position_offset(content: Mapping[str, Any]) -> int:
    """The row of the position embedding that the first token gets: RoBERTa counts on from the padding's id."""
    pad_id = content.get("pad_token_id", 1)
    return (pad_id + 1 if type(pad_id) is int and pad_id >= 0 else 0) if content.get("model_type") == "roberta" else 0


def to_bert(config: Mapping[str, Any], pad_id: int) -> dict[str, Any]:
    """The content of a config.json for a config of ours, without the architecture."""
    family = config["family"]
    content = {"model_type": family, "pad_token_id": pad_id}
    sizes = {theirs: config[ours] for ours, theirs in FAMILIES[family].items()}
    sizes["max_position_embeddings"] += position_offset(content)
    if family == "distilbert":
        return {**content, **sizes, "activation": config["activation"], "dropout": config["dropout"],
                "attention_dropout": config["dropout"]}
    return {**content, **sizes, "hidden_act": config["activation"], "type_vocab_size": config["n_types"],
            "layer_norm_eps": config["layer_norm_epsilon"], "position_embedding_type": "absolute",
            "hidden_dropout_prob": config["dropout"], "attention_probs_dropout_prob": config["dropout"]}


def _activation(name: Any) -> str | None:
    kinds = {**dict.fromkeys(EXACT_GELU, "gelu"), **dict.fromkeys(TANH_GELU, "gelu_new"), "relu": "relu"}
    return kinds.get(name) if isinstance(name, str) else None


def bert_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of a `Bert` by name."""
    width, inner = config["n_embd"], config["n_inner"]
    shapes: dict[str, tuple[int, ...]] = {"wte.weight": (config["vocab_size"], width),
                                          "wpe.weight": (config["n_ctx"], width)}
    if config["n_types"]:
        shapes["wtt.weight"] = (config["n_types"], width)
    layers = {"attn.c_attn": (width, 3 * width), "attn.c_proj": (width, width), "mlp.c_fc": (width, inner),
              "mlp.c_proj": (inner, width)}
    named = {f"h.{i}.{layer}": shape for i in range(config["n_layer"]) for layer, shape in layers.items()}
    if config["pooler"] != "none":
        named["pooler"] = (width, width)
    norms = ["ln_e", *(f"h.{i}.{norm}" for i in range(config["n_layer"]) for norm in ("ln_1", "ln_2"))]
    for name, shape in named.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[1:]}
    for norm in norms:
        shapes |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
    return shapes
