"""A model in files: weights, vocabulary, configuration and where they come from.

In one native checkpoint, which is what this package writes, or as others publish a GPT-2 or an encoder.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_gpt import __version__
from tinygrad_gpt.checkpoints import native
from tinygrad_gpt.checkpoints.bert_files import is_bert, read_bert_head
from tinygrad_gpt.checkpoints.download import MODELS, downloaded
from tinygrad_gpt.checkpoints.gpt2_files import WEIGHTS, read_class_head, weights_file
from tinygrad_gpt.checkpoints.int8 import from_int8, to_int8
from tinygrad_gpt.errors import CheckpointError, UsageError
from tinygrad_gpt.files import digests_of
from tinygrad_gpt.models.bert import Bert, BertConfig
from tinygrad_gpt.models.bert_classifier import BertClassifier
from tinygrad_gpt.models.classifier import GPT2Classifier, TextClassifier
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.runs.folder import STATE_FILES, holds_run
from tinygrad_gpt.runs.metadata import ENCODERS, Metadata, check_provenance, kind_of, read_metadata
from tinygrad_gpt.text import Tokenizer, read_tokenizer, tokenizer_from_arrays
from tinygrad_gpt.text.merges import shipped
from tinygrad_gpt.text.numbers import Numbers
from tinygrad_gpt.text.pretrained import has_vocabulary, ids_that_end

__all__ = [
    "SHIPPED_BASE", "SHIPPED_CLASSIFIER", "SavedModel", "is_encoder", "load_model", "model_file", "origin",
    "packed", "provenance_of", "save_model", "unpacked", "weights_folder",
]

SHIPPED_BASE = "storyteller"
SHIPPED_CLASSIFIER = "sms-spam"
_VOCABULARY = "tokenizer."


@dataclass(frozen=True)
class SavedModel:
    """What a checkpoint restores.

    Args:
        model: a GPT2 or Bert, or a classifier made of one if there are labels.
        tokenizer: its vocabulary.
        labels: names of the classes in the order of the scores; empty for a language model.
        provenance: how the model was made: command, data, figures.
        unsure_below: probability below which an answer of a classifier is unsure; 0: none is.
        thresholds: where a text may have any number of labels, the probability from which on it has each; else empty.
    """

    model: GPT2 | Bert | TextClassifier
    tokenizer: Tokenizer
    labels: tuple[str, ...]
    provenance: dict
    unsure_below: float = 0.0
    thresholds: tuple[float, ...] = ()

    @property
    def base(self) -> GPT2 | Bert:
        """The transformer, with or without a classifier around it."""
        return self.model.transformer if isinstance(self.model, TextClassifier) else self.model

    @property
    def transformer(self) -> GPT2:
        """The same, if it is a language model.

        Raises:
            UsageError: "the model is an encoder, which predicts no next token; give a GPT-2".
        """
        if not isinstance(self.base, GPT2):
            raise UsageError("the model is an encoder, which predicts no next token; give a GPT-2")
        return self.base

    @property
    def n_ctx(self) -> int:
        """The longest sequence it reads, in tokens."""
        return self.base.config.n_ctx

    @property
    def classifier(self) -> TextClassifier:
        """The classifier.

        Raises:
            UsageError: "the model is a language model, not a classifier; finetune it first".
        """
        if not isinstance(self.model, TextClassifier):
            kind = "a language model" if isinstance(self.model, GPT2) else "an encoder"
            raise UsageError(f"the model is {kind}, not a classifier; finetune it first")
        return self.model


def origin(recipe: str, config, files: Sequence[str]) -> dict:
    """What a checkpoint notes about its run: recipe, settings, version, and the sha256 of each file that was read.

    Args:
        config: the recipe's config dataclass; paths in it are noted without their folders.
        files: what was read.
    """
    def bare(value):
        if isinstance(value, tuple):
            return [bare(v) for v in value]
        return Path(value).name if isinstance(value, str) and Path(value).exists() else value

    return {"recipe": recipe, "version": __version__, "sha256": digests_of(files),
            "config": {name: bare(value) for name, value in asdict(config).items()}}


def weights_folder() -> Path:
    """The models that ship with the package: inside an installed wheel, or `weights/` of a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_weights"
    return installed if installed.is_dir() else package.parent / "weights"


def model_file(path: str | Path) -> Path:
    """The file of weights that is meant.

    Args:
        path: a file, a folder with one in it, the name of a model that ships with the package, or of a GPT-2 that
            was downloaded. A path that exists takes precedence over a name.

    Raises:
        CheckpointError: the folder has no weights, "cannot load (runs/mine): its run is not finished; …", or "cannot
            load model (gpt2): it is not downloaded; …".
    """
    if not str(path):
        raise CheckpointError("cannot load model (''): the name is empty; give a file, a folder or a name")
    found, shipped = Path(path), weights_folder() / f"{path}.h5"
    if found.is_dir() and (found / "model.h5").exists():
        return found / "model.h5"
    if found.is_dir():
        if holds_run(found) and any((found / name).exists() for name in STATE_FILES):
            raise CheckpointError(f"cannot load ({path}): its run is not finished; go on with --resume --out {path}")
        return weights_file(found)
    if found.exists() or str(path) not in MODELS:
        return shipped if not found.exists() and shipped.is_file() else found
    folder = downloaded(str(path))
    if folder is None:
        raise CheckpointError(f"cannot load model ({path}): it is not downloaded; the command `download {path}` "
                              "fetches it")
    return weights_file(folder)


def is_encoder(path: str | Path) -> bool:
    """Whether a model is an encoder, as its files say; False where there is no model, which `load_model` reports.

    Args:
        path: as in `model_file`.
    """
    try:
        file = model_file(path)
        return native.load_metadata(file).get("kind") in ENCODERS if native.is_native(file) else is_bert(file)
    except (CheckpointError, OSError):
        return False


def save_model(path: str | Path, saved: SavedModel, dtype: type = np.float32) -> None:
    """Write a model as a native checkpoint; ``dtype`` float16 halves the file, and int8 halves it again.

    Raises:
        CheckpointError, ResourceError, TinygradError: as `native.save`; of int8 also as `int8.to_int8`.
    """
    native.save(path, *packed(saved, dtype))


def packed(saved: SavedModel, dtype: type = np.float32) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """A model as plain arrays and JSON values, all that `unpacked` needs; the arrays may be the model's own."""
    arrays = saved.model.arrays()
    weights = to_int8(arrays) if dtype is np.int8 else {
        name: array.astype(dtype, copy=False) for name, array in arrays.items()}
    vocabulary = {_VOCABULARY + name: array for name, array in saved.tokenizer.to_arrays().items()}
    reading = {"reading": asdict(saved.classifier.reading)} if saved.labels else {}
    return weights | vocabulary, {
        "kind": kind_of(saved.base.config, bool(saved.labels)),
        "config": saved.base.config.to_dict(),
        "labels": list(saved.labels),
        "provenance": saved.provenance,
        **reading,
        **({"thresholds": list(saved.thresholds)} if saved.thresholds else {}),
    }


def load_model(path: str | Path, by_ids: bool = False) -> SavedModel:
    """Read any model: one that `save_model` wrote, or a published GPT-2 with its vocab.json and merges.txt.

    A state dict of 50,257 tokens without a vocabulary beside it has GPT-2's own.

    Args:
        path: as in `model_file`.
        by_ids: read no vocabulary; the model's texts are then its ids, as `Numbers` has them.

    Raises:
        CheckpointError: a file is missing, damaged, foreign, or its parts do not fit together.
    """
    file = model_file(path)
    if by_ids and not native.is_native(file):
        model = (Bert if is_bert(file) else GPT2).from_pretrained(file)
        return SavedModel(model, Numbers(model.config.vocab_size, ids_that_end(file.parent)), (),
                          {"recipe": "published", "file": file.name})
    if by_ids:
        loaded = load_model(file)
        return replace(loaded, tokenizer=Numbers(loaded.tokenizer.vocab_size, loaded.tokenizer.end_ids))
    if not native.is_native(file):
        return _load_published(file)
    checkpoint = native.load(file)
    return unpacked(checkpoint.tensors, checkpoint.metadata, file)


def _load_published(file: Path) -> SavedModel:
    if is_bert(file):
        return _load_encoder(file)
    base, head = GPT2.from_pretrained(file), read_class_head(file)
    if has_vocabulary(file.parent):
        tokenizer = Tokenizer.from_pretrained(file.parent)
    elif base.config.vocab_size == GPT2Config().vocab_size and file.name not in WEIGHTS:  # a state dict has none
        tokenizer = Tokenizer(shipped())
    else:
        raise CheckpointError(f"cannot load model ({file}): it comes without its vocabulary of "
                              f"{base.config.vocab_size} tokens; put the model's vocab.json and merges.txt beside it, "
                              "or use it by ids, with generate --ids")
    _check_vocabulary(file, tokenizer, base.config)
    notes = {"recipe": "published", "file": file.name}
    if head is None:
        return SavedModel(base, tokenizer, (), notes)
    start = tokenizer.layout.start_id is not None
    return SavedModel(GPT2Classifier.from_head(base, head, tokenizer.eot_id, start), tokenizer, head.labels, notes)


def _load_encoder(file: Path) -> SavedModel:
    encoder, tokenizer = Bert.from_pretrained(file), read_tokenizer(file.parent)
    _check_vocabulary(file, tokenizer, encoder.config)
    notes = {"recipe": "published", "file": file.name}
    if (head := read_bert_head(file)) is None:
        return SavedModel(encoder, tokenizer, (), notes)
    return SavedModel(BertClassifier.from_head(encoder, head), tokenizer, head.labels, notes)


def unpacked(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, Any], path: str | Path) -> SavedModel:
    """The model that `packed` took apart; it may keep the arrays.

    Args:
        path: where they come from, for messages.

    Raises:
        CheckpointError: "cannot load model (model.h5): config.n_layer is 'x', expected a whole number; …".
    """
    with _explained(path):
        weights = from_int8({name: array for name, array in tensors.items() if not name.startswith(_VOCABULARY)})
        read = read_metadata(metadata, {name: array.shape for name, array in weights.items()})
    vocabulary = {name.removeprefix(_VOCABULARY): array for name, array in tensors.items()
                  if name.startswith(_VOCABULARY)}
    tokenizer = tokenizer_from_arrays(vocabulary)
    _check_vocabulary(path, tokenizer, read.config)
    model = _without_weights(read)
    model.adopt_state_dict(weights)
    unsure_below = read.provenance.get("config", {}).get("unsure_below", 0.0)
    return SavedModel(model.eval(), tokenizer, read.labels, read.provenance, unsure_below,
                      read.thresholds)


def _without_weights(read: Metadata) -> GPT2 | Bert | TextClassifier:
    """The model that a checkpoint describes, with zeros for its weights."""
    if isinstance(read.config, BertConfig):
        encoder = Bert(read.config, seed=None)
        return BertClassifier(encoder, len(read.labels), None, read.reading) if read.labels else encoder
    gpt2 = GPT2(read.config, seed=None)
    return GPT2Classifier(gpt2, len(read.labels), None, read.reading) if read.labels else gpt2


def provenance_of(file: Path) -> dict[str, Any]:
    """How the model in a native checkpoint was made; its weights are not read.

    Raises:
        CheckpointError: as `load_model`.
    """
    metadata = native.load_metadata(file)
    labels = metadata.get("labels")
    with _explained(file):
        return check_provenance(metadata.get("provenance"), len(labels) if isinstance(labels, list) else 0)


@contextlib.contextmanager
def _explained(path: str | Path) -> Iterator[None]:
    """Put the name of the file around a reason."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"cannot load model ({path}): {error}; give a file that finetune or pretrain "
                              "wrote") from error


def _check_vocabulary(path: str | Path, tokenizer: Tokenizer, config: GPT2Config | BertConfig) -> None:
    if tokenizer.vocab_size > config.vocab_size:
        raise CheckpointError(f"cannot load model ({path}): its vocabulary has {tokenizer.vocab_size} tokens but the "
                              f"model {config.vocab_size}; it was put together wrongly")
