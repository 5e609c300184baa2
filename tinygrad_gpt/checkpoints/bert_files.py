"""BERT, DistilBERT and RoBERTa as Hugging Face publishes them: config.json and model.safetensors, in one file or more.

Source: https://huggingface.co/google-bert/bert-base-uncased; transformers, `modeling_bert.py`.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_gpt.checkpoints.bert_config import FAMILIES, bert_config, bert_shapes, position_offset, to_bert
from tinygrad_gpt.checkpoints.bert_names import HEADS, POOLERS, SCORES, plain_name, published_names
from tinygrad_gpt.checkpoints.class_head import ClassHead, classes_of, to_classes
from tinygrad_gpt.checkpoints.gpt2_files import read_config, read_places, weights_file, write_published
from tinygrad_gpt.checkpoints.hdf5_guard import explained
from tinygrad_gpt.checkpoints.mapped_tensor import FileTensor
from tinygrad_gpt.errors import CheckpointError, listed

__all__ = ["is_bert", "plain_tensors", "read_bert", "read_bert_head", "write_bert"]


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
        config["pooler"] = _take_pooler(stored, config["family"])
        if config["n_layer"] > len(stored):
            raise CheckpointError(f"config.json says {config['n_layer']} layers, but the file has {len(stored)} "
                                  "tensors in all; use another copy")
        stored = {name: tensor for name, tensor in stored.items() if not HEADS.fullmatch(name)}
        offset, expected = position_offset(content), bert_shapes(config)
        _check(stored, expected, config["family"], offset)
        return config, {name: _load(stored, name, config["family"], offset) for name in expected}


def read_bert_head(path: str | Path) -> ClassHead | None:
    """Read the classes of a published encoder that classifies texts; None where it does not.

    Args:
        path: as in `read_bert`.

    Raises:
        CheckpointError: as `read_bert`, and as `class_head.classes_of`.
    """
    file = weights_file(path)
    content = read_config(file.parent / "config.json") or {}
    with explained(file):
        stored, family = plain_tensors(file), content.get("model_type", "")
        names = content.get("architectures")
        if family not in tuple(FAMILIES) or not (names is None or (isinstance(names, list) and any(
                str(name).endswith("ForSequenceClassification") for name in names))):
            return None
        weight, bias = (stored.get(f"{SCORES[family]}.{kind}") for kind in ("weight", "bias"))
        if weight is None or bias is None or f"{POOLERS[family][0]}.weight" not in stored:
            return None
        sizes = bert_config(content)
        if not (weight.is_float and bias.is_float and weight.shape == (*bias.shape, sizes["n_embd"])):
            raise CheckpointError(f"its scores are {weight.dtype} {weight.shape} and {bias.dtype} {bias.shape}, which "
                                  "do not fit; use another copy")
        return replace(classes_of(content, weight.load(), sizes["vocab_size"]), bias=bias.load())


def write_bert(folder: str | Path, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], pad_id: int,
               head: ClassHead | None = None) -> None:
    """Write config.json and model.safetensors, as `transformers` reads them.

    Args:
        folder: made where it is absent; files of these names are replaced.
        config: the fields of a `BertConfig`.
        tensors: the weights of a `Bert` by name.
        pad_id: the token that fills up texts.
        head: the classes of a classifier that reads the pooled first token; None: it is the encoder alone.

    Raises:
        CheckpointError: the tensors are not those of the config.
        ResourceError, TinygradError: as `files.write_atomic`.
    """
    if {name: array.shape for name, array in tensors.items()} != bert_shapes(config):
        raise CheckpointError(f"cannot save ({folder}): the weights are not those of the config; save a whole model")
    family, content = config["family"], to_bert(config, pad_id)
    offset = position_offset(content)
    named = {}
    for name, array in tensors.items():
        if name == "wpe.weight":
            array = np.concatenate([np.zeros((offset, array.shape[1]), array.dtype), array])
        parts = published_names(name, family)
        for part, values in zip(parts, np.split(array, len(parts), axis=-1), strict=True):
            named[part] = np.ascontiguousarray(values if _is_embedding(name) else values.T)
    kind = {"bert": "Bert", "roberta": "Roberta", "distilbert": "DistilBert"}[family]
    if head is None:
        write_published(folder, named, content | {"architectures": [f"{kind}Model"]})
        return
    assert head.bias is not None
    layer = POOLERS[family][0]
    pooler = {name.replace("pooler.dense", layer): named.pop(name) for name in ("pooler.dense.weight",
                                                                                "pooler.dense.bias")}
    named = {f"{family}.{name}": array for name, array in named.items()}
    named |= {f"bert.{name}" if family == "bert" else name: array for name, array in pooler.items()}
    named |= {f"{SCORES[family]}.weight": np.ascontiguousarray(head.weight), f"{SCORES[family]}.bias": head.bias}
    write_published(folder, named, content | to_classes(head.labels, pad_id, f"{kind}ForSequenceClassification"))


def _take_pooler(stored: dict[str, FileTensor], family: str) -> str:
    """The function of the pooler, which then has BERT's name, or "none"; a classifier's own comes before BERT's."""
    layer, function = POOLERS[family]
    if f"{layer}.weight" in stored and f"{layer}.bias" in stored:
        for kind in ("weight", "bias"):
            stored[f"pooler.dense.{kind}"] = stored.pop(f"{layer}.{kind}")
        return function
    return "tanh" if "pooler.dense.weight" in stored else "none"


def plain_tensors(file: Path) -> dict[str, FileTensor]:
    """The tensors of a file of weights by their plain names, heads among them, without buffers.

    Raises:
        CheckpointError: a reason without the file's name: "it holds pooler.dense.bias both with and …".
    """
    stored: dict[str, FileTensor] = {}
    for name, tensor in read_places(file).items():
        plain = plain_name(name)
        if plain in stored:
            raise CheckpointError(f"it holds {plain} both with and without a prefix, or under two names; use another "
                                  "copy")
        if plain is not None:
            stored[plain] = tensor
    return stored


def _check(stored: Mapping[str, FileTensor], expected: Mapping[str, tuple[int, ...]], family: str,
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


def _load(stored: Mapping[str, FileTensor], name: str, family: str, offset: int) -> np.ndarray:
    parts = [stored[part].load() for part in published_names(name, family)]
    if _is_embedding(name):
        return parts[0][offset:] if name == "wpe.weight" else parts[0]
    return np.ascontiguousarray(np.concatenate(parts).T)
