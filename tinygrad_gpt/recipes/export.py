"""Give a model to other programs: the files of a published GPT-2 or encoder; or one of this package, made smaller."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from tinygrad_gpt.checkpoints.gpt2_files import write_gpt2
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.files import write_atomic
from tinygrad_gpt.models.bert import Bert
from tinygrad_gpt.models.bert_classifier import BertClassifier
from tinygrad_gpt.models.classifier import GPT2Classifier, Reading, TextClassifier
from tinygrad_gpt.models.gpt2 import GPT2
from tinygrad_gpt.runs.folder import holds_model, holds_run
from tinygrad_gpt.runs.saved_model import SavedModel, save_model
from tinygrad_gpt.text import Characters, Tokenizer

__all__ = ["STORES", "export", "store"]

STORES = {"float32": np.float32, "float16": np.float16, "int8": np.int8}


def export(saved: SavedModel, folder: Path) -> list[str]:
    """Write config.json, model.safetensors and the vocabulary's files, with which `transformers` computes the same.

    Args:
        saved: a language model, an encoder or a classifier, with a vocabulary that is not one of characters.
        folder: made where it is absent; one that holds a run or a model is refused.

    Returns:
        The names of the files.

    Raises:
        UsageError: the model reads characters, or is a classifier that fills up its texts or reads other than their
            last token, of an encoder the pooled first one; such models have no place in these files.
        ResourceError, TinygradError: as in `files.write_atomic`.
    """
    if isinstance(saved.tokenizer, Characters):
        raise UsageError("cannot export a model of characters: these files hold byte pairs and WordPiece only; "
                         "train one on byte pairs")
    _check_free(folder)
    if saved.thresholds:
        raise UsageError("cannot export a classifier with several labels for a text: these files have no place for its "
                         "thresholds; use it here")
    model, tokenizer = saved.model, saved.tokenizer
    if isinstance(model, Bert):
        model.save_pretrained(folder, 0 if tokenizer.pad_id is None else tokenizer.pad_id)
    elif isinstance(model, BertClassifier):
        model.save_pretrained(folder, saved.labels)
    elif isinstance(model, GPT2):
        write_gpt2(folder, model.config.to_dict(), model.arrays(), tokenizer.eot_id)
    elif isinstance(model, GPT2Classifier):
        model.save_pretrained(folder, saved.labels, tokenizer.eot_id)
        tokenizer = _reading_as(tokenizer, model.reading)
    names = tokenizer.save_pretrained(folder)
    if isinstance(model, TextClassifier) and "tokenizer_config.json" in names:
        _say_context(folder / "tokenizer_config.json", model.context)
    return ["config.json", "model.safetensors", *names]


def _reading_as(tokenizer: Tokenizer, reading: Reading) -> Tokenizer:
    """The tokenizer of a classifier: with its token before a text, and its padding where that is no token of texts."""
    layout = tokenizer.layout
    first = tokenizer.eot_id if layout.start_id is None else layout.start_id
    return Tokenizer(tokenizer.tokens, replace(
        layout, start_id=first if reading.start else None,
        pad_id=reading.pad_id if reading.pad_id in layout.special.values() else None))


def _say_context(path: Path, context: int) -> None:
    """Name the longest text in a tokenizer_config.json, so that `truncation=True` cuts there."""
    content = json.loads(path.read_bytes()) | {"model_max_length": context}
    write_atomic(path, json.dumps(content, indent=2).encode())


def store(saved: SavedModel, folder: Path, form: str) -> Path:
    """Write a checkpoint of this package, model.h5, whose weights are in a given form.

    Args:
        saved: any model.
        folder: as in `export`.
        form: one of `STORES`.

    Returns:
        The file.

    Raises:
        CheckpointError, ResourceError, TinygradError, UsageError: as `save_model` and `export`.
    """
    _check_free(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder / "model.h5", saved, STORES[form])
    return folder / "model.h5"


def _check_free(folder: Path) -> None:
    if holds_run(folder) or holds_model(folder):
        raise UsageError(f"cannot export ({folder}): a run or a model is already there; choose another folder")
