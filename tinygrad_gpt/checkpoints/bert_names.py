"""The names under which Hugging Face publishes the weights of the BERT, DistilBERT and RoBERTa families, and ours.

    bert., roberta., distilbert.    before the names where a head is beside the encoder
    gamma, beta                     weight and bias of a norm in files from TensorFlow
    position_ids, token_type_ids    no weights: numbers from 0 on, and zeros

Matrices are (out, in) there and (in, out) here, and queries, keys and values have a layer each there.
"""

import re

from tinygrad_gpt.errors import CheckpointError

__all__ = ["HEADS", "POOLERS", "SCORES", "plain_name", "published_names"]

PREFIX = re.compile(r"^(?:(?:bert|roberta|distilbert|model|module|_orig_mod)\.)+")
BUFFER = re.compile(r"embeddings\.(position_ids|token_type_ids)")
BLOCKS = {"bert": "encoder.layer", "roberta": "encoder.layer", "distilbert": "transformer.layer"}
HEADS = re.compile(r"(cls|lm_head|vocab_(transform|layer_norm|projector)|(pre_)?classifier|qa_outputs)\..*")
BERT = {"attn.c_attn": ("attention.self.query", "attention.self.key", "attention.self.value"),
        "attn.c_proj": ("attention.output.dense",), "ln_1": ("attention.output.LayerNorm",),
        "mlp.c_fc": ("intermediate.dense",), "mlp.c_proj": ("output.dense",), "ln_2": ("output.LayerNorm",)}
DISTILBERT = {"attn.c_attn": ("attention.q_lin", "attention.k_lin", "attention.v_lin"),
              "attn.c_proj": ("attention.out_lin",), "ln_1": ("sa_layer_norm",),
              "mlp.c_fc": ("ffn.lin1",), "mlp.c_proj": ("ffn.lin2",), "ln_2": ("output_layer_norm",)}
# Of each family the layer that a classifier's first token goes through, and its function; then the scores.
POOLERS = {"bert": ("pooler.dense", "tanh"), "roberta": ("classifier.dense", "tanh"),
           "distilbert": ("pre_classifier", "relu")}
SCORES = {"bert": "classifier", "roberta": "classifier.out_proj", "distilbert": "classifier"}
LAYERS = {"bert": BERT, "roberta": BERT, "distilbert": DISTILBERT}
OUTSIDE = {"wte": "embeddings.word_embeddings", "wpe": "embeddings.position_embeddings",
           "wtt": "embeddings.token_type_embeddings", "ln_e": "embeddings.LayerNorm", "pooler": "pooler.dense"}


def plain_name(name: str) -> str | None:
    """A published name without prefixes and under today's name of a norm; None for a buffer."""
    plain = PREFIX.sub("", name)
    plain = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", plain)
    plain = re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", plain)
    return None if BUFFER.fullmatch(plain) else plain


def published_names(name: str, family: str) -> tuple[str, ...]:
    """The published tensors, without a prefix, that one of ours is made of: three for queries, keys and values.

    Raises:
        CheckpointError: it is none of a `Bert`.
    """
    layer, _, kind = name.rpartition(".")
    if layer in OUTSIDE:
        return (f"{OUTSIDE[layer]}.{kind}",)
    if match := re.fullmatch(r"h\.(\d+)\.(.+)", layer):
        number, part = match.groups()
        if part in LAYERS[family]:
            return tuple(f"{BLOCKS[family]}.{number}.{theirs}.{kind}" for theirs in LAYERS[family][part])
    raise CheckpointError(f"an encoder has no tensor {name}")
