"""What a checkpoint says of its model: every field is checked, and the sizes are held against the tensors.

It happens before anything is made, so that no field of a file can take memory that the file itself does not take.
"""

import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

from tinygrad_gpt.book import SPLITS
from tinygrad_gpt.checkpoints.bert_config import bert_shapes
from tinygrad_gpt.checkpoints.gpt2_config import shapes_of
from tinygrad_gpt.data.prompt_styles import STYLES
from tinygrad_gpt.errors import CheckpointError, UsageError, listed
from tinygrad_gpt.models.bert import BertConfig
from tinygrad_gpt.models.classifier import Reading
from tinygrad_gpt.models.gpt2 import GPT2Config

__all__ = ["ENCODERS", "Metadata", "check_provenance", "kind_of", "read_metadata"]

Shapes = Mapping[str, tuple[int, ...]]

DECODERS, ENCODERS = ("gpt2", "classifier"), ("bert", "bert-classifier")  # without and with labels
KINDS = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text", type(None): "null"}
ORIGIN: dict[str, Callable[[Any], bool]] = {  # the settings of a run that are read again, and what they may be
    "split": lambda value: isinstance(value, str) and value in SPLITS,
    "split_seed": lambda value: type(value) is int and 0 <= value < 2**63,
    "style": lambda value: value is None or (isinstance(value, str) and value in STYLES),
    "test": lambda value: value is None or isinstance(value, str),
    "unsure_below": lambda value: type(value) in (int, float) and 0 <= value <= 1,
}


@dataclass(frozen=True)
class Metadata:
    """The metadata of a checkpoint.

    Args:
        config: sizes of the transformer.
        labels: names of the classes; empty for a language model.
        reading: how a classifier reads; None if the file does not say it.
        provenance: how the model was made.
        thresholds: as in `SavedModel`.
    """

    config: GPT2Config | BertConfig
    labels: tuple[str, ...]
    reading: Reading | None
    provenance: dict[str, Any]
    thresholds: tuple[float, ...] = ()


def read_metadata(metadata: Mapping[str, Any], shapes: Shapes) -> Metadata:
    """Check all fields of a model's metadata.

    Args:
        metadata: JSON values, as `saved_model.packed` gives them.
        shapes: of the weights by name.

    Raises:
        CheckpointError: a reason without the file's name: "config.n_layer is 'x', expected a whole number"; "3 of the
            tensors do not fit: missing …".
    """
    if metadata.get("kind") == "training state":
        raise CheckpointError("it is a state from which a run is resumed, not a model")
    sizes = BertConfig if metadata.get("kind") in ENCODERS else GPT2Config
    config: GPT2Config | BertConfig = _record(sizes, metadata.get("config"), "config")
    if not 0 <= config.dropout < 1 or not 0 < config.layer_norm_epsilon < 1:
        raise CheckpointError(f"config.dropout is {config.dropout!r} and config.layer_norm_epsilon "
                              f"{config.layer_norm_epsilon!r}, expected numbers between 0 and 1")
    labels = metadata.get("labels")
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise CheckpointError(f"labels is {reprlib.repr(labels)}, expected a list of texts")
    if metadata.get("kind") != (kind := kind_of(config, bool(labels))):
        raise CheckpointError(f"kind is {reprlib.repr(metadata.get('kind'))}, expected {kind!r} of a model with "
                              f"{len(labels)} labels")
    reading = _record(Reading, metadata["reading"], "reading") if "reading" in metadata else None
    head = (config.n_embd * (reading.copies if reading else 1), len(labels)) if labels else None
    _check_shapes(config, head, shapes)
    if reading:
        if (reading.context or 1) > config.n_ctx or reading.pad_id >= config.vocab_size:
            raise CheckpointError(f"reading.context is {reading.context} and reading.pad_id {reading.pad_id}, but the "
                                  f"model has {config.n_ctx} positions and {config.vocab_size} tokens")
        if isinstance(config, BertConfig) and (reading.causal or (reading.context or 3) <= 2 * reading.start):
            raise CheckpointError(f"reading.causal is {reading.causal} and reading.context {reading.context}, but an "
                                  "encoder sees the whole text, between two special tokens")
    return Metadata(config, tuple(labels), reading, check_provenance(metadata.get("provenance"), len(labels)),
                    _thresholds(metadata, len(labels)))


def _thresholds(metadata: Mapping[str, Any], n_labels: int) -> tuple[float, ...]:
    thresholds = metadata.get("thresholds", [])
    if not isinstance(thresholds, list) or len(thresholds) not in (0, n_labels) or not all(
            _is(value, float) and 0 <= value <= 1 for value in thresholds):
        raise CheckpointError(f"thresholds is {reprlib.repr(thresholds)}, expected a number from 0 to 1 for each label")
    return tuple(thresholds)


def kind_of(config: GPT2Config | BertConfig, has_labels: bool) -> str:
    """What a checkpoint calls such a model."""
    return (ENCODERS if isinstance(config, BertConfig) else DECODERS)[has_labels]


def check_provenance(provenance: Any, n_labels: int) -> dict[str, Any]:
    """Check what is read again of the notes on how a model was made; returns them.

    Raises:
        CheckpointError: a reason without the file's name: "provenance.config.style is 'poem', expected one of …".
    """
    if not isinstance(provenance, dict):
        raise CheckpointError(f"provenance is {reprlib.repr(provenance)}, expected an object")
    for name in ("config", "sha256"):
        if not isinstance(provenance.get(name, {}), dict):
            raise CheckpointError(f"provenance.{name} is {reprlib.repr(provenance[name])}, expected an object")
    classes = provenance.get("classes", [""] * n_labels)
    if not isinstance(classes, list) or len(classes) != n_labels or {type(item) for item in classes} & {list, dict}:
        raise CheckpointError(f"provenance.classes is {reprlib.repr(classes)}, expected a value for each of the "
                              f"{n_labels} labels")
    config = provenance.get("config", {})
    for name, is_allowed in ORIGIN.items():
        if name in config and not is_allowed(config[name]):
            raise CheckpointError(f"provenance.config.{name} is {reprlib.repr(config[name])}, which no run has")
    return provenance


def _record(kind: type, values: Any, where: str) -> Any:
    """A dataclass from a JSON object that has all its fields, each of its type, and no others."""
    if not isinstance(values, dict):
        raise CheckpointError(f"{where} is {reprlib.repr(values)}, expected an object")
    hints = get_type_hints(kind)
    if odd := sorted(hints.keys() ^ values.keys()):
        raise CheckpointError(f"{where} lacks or misnames a field ({listed(odd)})")
    for name, hint in hints.items():
        allowed = get_args(hint) or (hint,)
        if not any(_is(values[name], one) for one in allowed):
            raise CheckpointError(f"{where}.{name} is {reprlib.repr(values[name])}, expected "
                                  f"{' or '.join(KINDS[one] for one in allowed)}")
    try:
        return kind(**values)
    except UsageError as error:
        raise CheckpointError(f"{where}: {error}") from error


def _is(value: Any, kind: type) -> bool:
    """Whether a JSON value is of a type; true is no number, and numbers are finite and fit 32 bits if whole."""
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    if kind is int:
        return type(value) is int and 0 <= value < 2**31
    return type(value) is kind


def _check_shapes(config: GPT2Config | BertConfig, head: tuple[int, int] | None, shapes: Shapes) -> None:
    """Compare the weights that a config has with those that are there."""
    if config.n_layer > len(shapes):  # before a list is made of what a hostile file says
        raise CheckpointError(f"config.n_layer is {config.n_layer}, but there are {len(shapes)} tensors in all")
    expected = (bert_shapes if isinstance(config, BertConfig) else shapes_of)(config.to_dict())
    if isinstance(config, GPT2Config) and not config.tied_head:
        expected["lm_head.weight"] = expected["lm_head.weight"][::-1]  # (in, out) here
    if head:
        expected = {f"transformer.{name}": shape for name, shape in expected.items()} | {"score.weight": head}
    problems = [f"missing {name} {shape}" for name, shape in expected.items() if name not in shapes]
    problems += [f"unexpected {name} {shapes[name]}" for name in shapes
                 if name not in expected and not name.startswith("score.")]
    problems += [f"{name} is {shapes[name]}, expected {shape}" for name, shape in expected.items()
                 if shapes.get(name, shape) != shape]
    if problems:
        raise CheckpointError(f"{len(problems):,} of the tensors do not fit: {listed(problems, '; ')}")
