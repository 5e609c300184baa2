"""BERT, DistilBERT and RoBERTa as Hugging Face publishes them: config.json and model.safetensors, in one file or more.

Source: https://huggingface.co/google-bert/bert-base-uncased; transformers, `modeling_bert.py`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_gpt.checkpoints.bert_config import FAMILIES, bert_config, bert_shapes, position_offset
from tinygrad_gpt.checkpoints.bert_names import HEADS, plain_name, published_names
from tinygrad_gpt.checkpoints.gpt2_files import read_config, read_places, weights_file
from tinygrad_gpt.checkpoints.hdf5_guard import explained
from tinygrad_gpt.checkpoints.mapped_tensor import StoredTensor
from tinygrad_gpt.errors import CheckpointError, listed

__all__ = ["is_bert", "plain_tensors", "read_bert"]


def is_bert(path: str | Path) -> bool:
    """Whether the config.json beside published weights names one of the `FAMILIES`.

    Args:
        path: a file of weights, or its folder.
    """
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    content = read_config(folder / "config.json")
    return content is not None and content.get("model_type") in tuple(FAMILIES)


def read_bert(path: str | Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read a published encoder; a head that it comes with is left out.

    Args:
        path: a folder, or one file: .safetensors or .safetensors.index.json; its config.json is beside it.

    Returns:
        The fields of a `BertConfig`, and the weights in float32 under the names of `Bert`. Embeddings are mapped, as
        `read_gpt2` does. No value has been looked at.

    Raises:
        CheckpointError: `cannot load (bert/model.safetensors): …`: the file is missing, damaged, foreign or of another
            architecture; or the list of tensors that are missing, unexpected, misshapen or of a wrong dtype.
    """
    file = weights_file(path)
    content = read_config(file.parent / "config.json")
    with explained(file):
        if content is None:
            raise CheckpointError("no config.json is beside it; give the folder of a published encoder")
        stored = plain_tensors(file)
        config = bert_config(content)
        config["pooler"] = "tanh" if "pooler.dense.weight" in stored else "none"
        if config["n_layer"] > len(stored):
            raise CheckpointError(f"config.json says {config['n_layer']} layers, but the file has {len(stored)} "
                                  "tensors in all; use another copy")
        stored = {name: tensor for name, tensor in stored.items() if not HEADS.fullmatch(name)}
        offset, expected = position_offset(content), bert_shapes(config)
        _check(stored, expected, config["family"], offset)
        return config, {name: _load(stored, name, config["family"], offset) for name in expected}


def plain_tensors(file: Path) -> dict[str, StoredTensor]:
    """The tensors of a file of weights by their plain names, heads among them, without buffers.

    Raises:
        CheckpointError: a reason without the file's name: "it holds pooler.dense.bias both with and …".
    """
    stored: dict[str, StoredTensor] = {}
    for name, tensor in read_places(file).items():
        plain = plain_name(name)
        if plain in stored:
            raise CheckpointError(f"it holds {plain} both with and without a prefix, or under two names; use another "
                                  "copy")
        if plain is not None:
            stored[plain] = tensor
    return stored


def _check(stored: Mapping[str, StoredTensor], expected: Mapping[str, tuple[int, ...]], family: str,
           offset: int) -> None:
    """Raise one error with what is wrong with the tensors."""
    problems: list[str] = []
    known: set[str] = set()
    for name, shape in expected.items():
        parts = published_names(name, family)
        known.update(parts)
        theirs = (*shape[:-1], shape[-1] // len(parts))
        theirs = (shape[0] + offset, shape[1]) if name == "wpe.weight" else theirs
        theirs = theirs if _is_embedding(name) else theirs[::-1]
        for part in parts:
            if part not in stored:
                problems += [f"missing {part} {theirs}"]
            elif stored[part].shape != theirs:
                problems += [f"{part} is {stored[part].shape}, expected {theirs}"]
            elif not stored[part].is_float:
                problems += [f"{part} is {stored[part].dtype}, expected F32, F16 or BF16"]
    problems += [f"unexpected {name} {stored[name].shape}" for name in stored if name not in known]
    if problems:
        raise CheckpointError(f"{len(problems):,} of the tensors do not fit: {listed(sorted(problems), '; ', 80)}; "
                              "does config.json belong to these weights?")


def _is_embedding(name: str) -> bool:
    return name in ("wte.weight", "wpe.weight", "wtt.weight")


def _load(stored: Mapping[str, StoredTensor], name: str, family: str, offset: int) -> np.ndarray:
    parts = [stored[part].load() for part in published_names(name, family)]
    if _is_embedding(name):
        return parts[0][offset:] if name == "wpe.weight" else parts[0]
    return np.ascontiguousarray(np.concatenate(parts).T)
