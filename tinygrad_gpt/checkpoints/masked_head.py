"""The masked-language head that is published beside an encoder: transformers' BertForMaskedLM and its relatives.

Source: transformers, `modeling_bert.py`, `modeling_roberta.py` and `modeling_distilbert.py`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_gpt.checkpoints.bert_files import plain_tensors
from tinygrad_gpt.checkpoints.gpt2_files import read_config, weights_file
from tinygrad_gpt.checkpoints.hdf5_guard import explained
from tinygrad_gpt.checkpoints.mapped_tensor import FileTensor
from tinygrad_gpt.errors import CheckpointError

__all__ = ["HEAD", "has_masked_head", "read_masked_head"]

# Of each family, the published names of ours; the bias may be under either of two, which are the same numbers.
HEAD = {
    "bert": {"dense": "cls.predictions.transform.dense", "ln": "cls.predictions.transform.LayerNorm",
             "bias": ("cls.predictions.bias", "cls.predictions.decoder.bias")},
    "roberta": {"dense": "lm_head.dense", "ln": "lm_head.layer_norm", "bias": ("lm_head.bias", "lm_head.decoder.bias")},
    "distilbert": {"dense": "vocab_transform", "ln": "vocab_layer_norm", "bias": ("vocab_projector.bias",)},
}


def has_masked_head(path: str | Path) -> bool:
    """Whether published weights hold a masked-language head.

    Args:
        path: as in `read_masked_head`.

    Raises:
        CheckpointError: as `read_bert`, for a file that cannot be read.
    """
    file = weights_file(path)
    with explained(file):
        content = read_config(file.parent / "config.json") or {}
        names = HEAD.get(str(content.get("model_type")))
        return names is not None and f"{names['dense']}.weight" in plain_tensors(file)


def read_masked_head(path: str | Path) -> dict[str, np.ndarray]:
    """Read the head's weights in float32, under the names of `MaskedHead`.

    Args:
        path: an encoder that `read_bert` reads.

    Raises:
        CheckpointError: a reason without the file's name: "it has no masked-language head; …".
    """
    file = weights_file(path)
    content = read_config(file.parent / "config.json") or {}
    stored, names = plain_tensors(file), HEAD[content["model_type"]]
    if f"{names['dense']}.weight" not in stored:
        raise CheckpointError("it has no masked-language head, only the encoder; give a model with one, such as a "
                              "BertForMaskedLM")
    if content.get("tie_word_embeddings", True) is not True:
        raise CheckpointError(f"tie_word_embeddings is {content['tie_word_embeddings']!r:.60}, and only True is known "
                              "here; give a model whose scores are made of its token embedding")
    bias = next((name for name in names["bias"] if name in stored), names["bias"][0])
    width, vocab_size = _sizes(stored)
    return {
        "dense.weight": np.ascontiguousarray(_load(stored, f"{names['dense']}.weight", (width, width)).T),
        "dense.bias": _load(stored, f"{names['dense']}.bias", (width,)),
        "ln.weight": _load(stored, f"{names['ln']}.weight", (width,)),
        "ln.bias": _load(stored, f"{names['ln']}.bias", (width,)),
        "bias": _load(stored, bias, (vocab_size,))}


def _sizes(stored: Mapping[str, FileTensor]) -> tuple[int, int]:
    """The width and the vocabulary of the encoder, which was read before."""
    vocab_size, width = stored["embeddings.word_embeddings.weight"].shape
    return width, vocab_size


def _load(stored: Mapping[str, FileTensor], name: str, shape: tuple[int, ...]) -> Any:
    tensor = stored.get(name)
    if tensor is None or tensor.shape != shape or not tensor.is_float:
        found = "missing" if tensor is None else f"{tensor.dtype} {tensor.shape}"
        raise CheckpointError(f"{name} is {found}, expected F32, F16 or BF16 {shape}; use another copy")
    return tensor.load()
