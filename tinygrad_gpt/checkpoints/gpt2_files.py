"""GPT-2 as others publish it.

    Hugging Face    config.json and model.safetensors (in one file or several), or tf_model.h5
    OpenAI          checkpoint, hparams.json, model.ckpt.index, model.ckpt.data-00000-of-00001
    PyTorch         a state dict written by torch.save, also under the names of S. Raschka's book

Hugging Face's names are those of this package, except for a prefix "transformer." and two layouts: `lm_head.weight` is
(out, in) there, and `attn.c_attn.bias` always exists. Weights are (in, out) on both sides.

Source: https://huggingface.co/openai-community/gpt2.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_gpt.checkpoints.book_names import from_book, is_book
from tinygrad_gpt.checkpoints.class_head import ClassHead, book_classes, classes_of, to_classes
from tinygrad_gpt.checkpoints.gpt2_config import from_published, shapes_of, to_published
from tinygrad_gpt.checkpoints.gpt2_names import check, load, plain_names, transposed
from tinygrad_gpt.checkpoints.hdf5_guard import HDF5_SIGNATURE, explained, first_bytes, parse_json, refuse_foreign
from tinygrad_gpt.checkpoints.keras_files import read_keras
from tinygrad_gpt.checkpoints.mapped_tensor import FileTensor, StoredTensor
from tinygrad_gpt.checkpoints.safetensors_files import read_header, read_index, read_small
from tinygrad_gpt.errors import CheckpointError
from tinygrad_gpt.files import write_atomic

__all__ = ["WEIGHTS", "read_class_head", "read_config", "read_gpt2", "read_places", "weights_file",
           "write_gpt2", "write_published"]

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "tf_model.h5", "pytorch_model.bin")  # Hugging Face's
STATE_DICTS = (".pth", ".pt", ".bin")
HPARAMS = {"n_vocab": "vocab_size", "n_ctx": "n_positions"}  # OpenAI's names in hparams.json that config.json changed
WHERE = "give a folder with config.json and model.safetensors"


def read_gpt2(path: str | Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read a published GPT-2 of any size; the head of one that classifies is left out.

    Args:
        path: a folder, or one file: .safetensors, .safetensors.index.json, tf_model.h5, model.ckpt.index, or a state
            dict of torch.save. The config.json or hparams.json beside the weights is used where there is one.

    Returns:
        The fields of a `GPT2Config`, and the weights in float32 under the names of `GPT2`. Float32 weights are
        mapped: they cost no memory until they are read, and writing to them does not reach the file. No value has been
        looked at.

    Raises:
        CheckpointError: `cannot load (gpt2/model.safetensors): …`: the file is missing, damaged, foreign or of a
            model that differs from GPT-2; or the list of tensors that are missing, unexpected, misshapen or of a
            wrong dtype.
    """
    file = weights_file(path)
    stored, content = _read(file)
    with explained(file):
        if _has_classes(stored):
            del stored["score.weight"]
            stored.pop("score.bias", None)
        tied = (content or {}).get("tie_word_embeddings")
        if "lm_head.weight" in stored and tied is not False:
            _drop_tied_head(stored, bool(tied))
        config = from_published(content, {name: tensor.shape for name, tensor in stored.items()})
        expected = shapes_of(config)
        turned = transposed(stored, expected)
        check(stored, expected, turned)
        tensors = load(stored, expected, turned)
    if "lm_head.weight" in tensors:
        tensors["lm_head.weight"] = np.ascontiguousarray(tensors["lm_head.weight"].T)
    return config, tensors


def read_class_head(path: str | Path) -> ClassHead | None:
    """Read the classes of a published GPT-2; None where it has none.

    Args:
        path: as in `read_gpt2`.

    Raises:
        CheckpointError: as `read_gpt2`, and as `class_head.classes_of`.
    """
    file = weights_file(path)
    stored, content = _read(file)
    with explained(file):
        if not _has_classes(stored):
            return None
        weight, vocab_size = stored["score.weight"].load(), stored["wte.weight"].shape[0]
        if "score.bias" in stored:
            return book_classes(content or {}, weight, stored["score.bias"].load(), vocab_size)
        return classes_of(content or {}, weight, vocab_size)


def _read(file: Path) -> tuple[dict[str, FileTensor], dict[str, Any] | None]:
    with explained(file):
        stored = plain_names(read_places(file))
    content = _settings(file.parent)
    with explained(file):
        if is_book(stored):
            stored = from_book(stored, (content or {}).get("lora_alpha"))
    return stored, content


def _settings(folder: Path) -> dict[str, Any] | None:
    """What the config.json of a folder says, or its hparams.json in the words of a config.json."""
    content = read_config(folder / "config.json")
    if content is None and (content := read_config(folder / "hparams.json")) is not None:
        content |= {name: content[openai] for openai, name in HPARAMS.items() if openai in content}
    return content


def _has_classes(stored: Mapping[str, FileTensor]) -> bool:
    """Whether there is a score.weight (K, C) of a model of width C."""
    score, embedding = stored.get("score.weight"), stored.get("wte.weight")
    return score is not None and embedding is not None and score.is_float and len(score.shape) == 2 \
        and score.shape[1:] == embedding.shape[1:]


def weights_file(path: str | Path) -> Path:
    """The file of weights that a path means: itself, or the one in a folder.

    Raises:
        CheckpointError: `cannot load (gpt2): it holds no model: …`.
    """
    folder = Path(path)
    if not folder.is_dir():
        index = folder.with_name(f"{folder.name}.index")  # TensorFlow names a checkpoint without an ending
        return index if index.is_file() and not folder.exists() else folder
    with explained(path):
        for name in WEIGHTS:
            if (folder / name).exists():
                return folder / name
        from tinygrad_gpt.checkpoints.tensorflow_files import checkpoint_index  # here: a start needs it seldom

        if (checkpoint := checkpoint_index(folder)) is not None:
            return checkpoint
        found = sorted(entry for entry in folder.iterdir() if entry.suffix in STATE_DICTS)
        if len(found) > 1:
            raise CheckpointError(f"it holds {len(found):,} files of weights, the first is {found[0].name[:60]!r}; "
                                  "give the path of one")
        if not found:
            raise CheckpointError(f"it holds no model: neither model.h5 of this package nor {' or '.join(WEIGHTS)}; "
                                  f"{WHERE}")
        return found[0]


def read_places(file: Path) -> Mapping[str, FileTensor]:
    """The tensors that a file of weights holds, whose kind its first bytes tell, or its last ones.

    Raises:
        CheckpointError: a reason without the file's name.
    """
    start = first_bytes(file)
    if start.startswith(HDF5_SIGNATURE):
        return read_keras(file)
    if start.startswith(b"PK\3\4"):
        from tinygrad_gpt.checkpoints.torch_files import read_torch  # here: zipfile takes 30 ms to import

        return read_torch(file)
    if start[8:9] == b"{" and start[5:8] == b"\0\0\0":
        return read_header(file)
    if not start.startswith(b"{"):
        from tinygrad_gpt.checkpoints.tensorflow_files import is_index, read_tensorflow

        if is_index(file):
            return read_tensorflow(file)
        refuse_foreign(start, f"it is not an HDF5 file, nor safetensors; {WHERE}")
    return read_index(file)


def read_config(path: Path) -> dict[str, Any] | None:
    """The content of a config.json; None where there is none.

    Raises:
        CheckpointError: `cannot load (gpt2/config.json): it is not a JSON object; …`.
    """
    if not path.is_file():
        return None
    with explained(path):
        content: Any = parse_json(read_small(path))
        if not isinstance(content, dict):
            raise CheckpointError("it is not a JSON object; give the config.json of a model")
        return content


def _drop_tied_head(stored: dict[str, FileTensor], tied: bool) -> None:
    """Forget a head that repeats the token embedding; one of its own needs a config that does not deny it."""
    head, embedding = stored["lm_head.weight"], stored.get("wte.weight")
    if embedding and head.is_float and head.shape == embedding.shape and head.dtype == embedding.dtype \
            and (_same_place(head, embedding) or np.array_equal(head.load(), embedding.load(), equal_nan=True)):
        del stored["lm_head.weight"]
    elif tied:
        raise CheckpointError("tie_word_embeddings is true, but lm_head.weight differs from wte.weight; correct "
                              "config.json")


def _same_place(one: FileTensor, other: FileTensor) -> bool:
    """Whether both are the same bytes of a file."""
    return isinstance(one, StoredTensor) and one == other


def write_gpt2(folder: str | Path, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray],
               eot_id: int | None = None, head: ClassHead | None = None) -> None:
    """Write config.json and model.safetensors, as `transformers` reads them.

    Args:
        folder: made where it is absent; files of these names are replaced.
        config: the fields of a `GPT2Config`.
        tensors: the weights of a `GPT2` by name, of any layout; a missing query-key-value bias becomes zeros.
        eot_id: the id of the end of text; the last one by default.
        head: the classes of a classifier; None: it is a language model.

    Raises:
        CheckpointError: the tensors are not those of the config.
        ResourceError, TinygradError: as `files.write_atomic`.
    """
    published = {name: np.asarray(tensor) for name, tensor in tensors.items()}
    if not config["tied_head"]:
        published["lm_head.weight"] = published["lm_head.weight"].T
    expected = shapes_of({**config, "qkv_bias": True})
    for name in expected.keys() - published.keys() if not config["qkv_bias"] else ():
        published[name] = np.zeros(expected[name], published["wte.weight"].dtype)
    if {name: array.shape for name, array in published.items()} != expected:
        raise CheckpointError(f"cannot save ({folder}): the weights are not those of the config; save a whole model")
    named = {name if name == "lm_head.weight" else f"transformer.{name}": np.ascontiguousarray(array)
             for name, array in published.items()}
    content = to_published(config, config["vocab_size"] - 1 if eot_id is None else eot_id)
    if head is not None:
        named = {name: array for name, array in named.items() if name != "lm_head.weight"}
        named["score.weight"] = np.ascontiguousarray(head.weight)
        content |= to_classes(head.labels, content["eos_token_id"] if head.pad_id is None else head.pad_id)
    write_published(folder, named, content)


def write_published(folder: str | Path, tensors: Mapping[str, np.ndarray], content: Mapping[str, Any]) -> None:
    """Write model.safetensors and config.json.

    Args:
        folder: made where it is absent; files of these names are replaced.
        tensors: by their published names, contiguous: of any other layout the library writes the wrong values.
        content: of config.json.

    Raises:
        ResourceError, TinygradError: as `files.write_atomic`.
    """
    from safetensors.numpy import save

    image, text = save(dict(tensors), metadata={"format": "pt"}), json.dumps(content, indent=2)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "model.safetensors", image, verify=_same_bytes(image))
    write_atomic(folder / "config.json", f"{text}\n".encode())


def _same_bytes(image: bytes) -> Callable[[Path], None]:
    """A check that a file holds these bytes."""
    def verify(path: Path) -> None:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "blake2b").digest() != hashlib.blake2b(image).digest():
                raise CheckpointError(f"cannot save ({path}): the disk gives back other bytes; use another disk")

    return verify
