"""The package's own checkpoint: an HDF5 file with a manifest and a digest for every tensor.

    /manifest         uint8: hexadecimal digest, line feed, JSON {format, version, metadata, tensors}
    /tensors/<name>   one contiguous, little-endian data set per tensor

HDF5 finds a third of all single-bit errors by itself, and lets a file point into other files. So the manifest
says what must be there, nothing else is followed, and the digests decide.
"""

import hashlib
import io
import json
import math
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_gpt.checkpoints.hdf5_guard import (
    HDF5_SIGNATURE,
    data_set,
    explained,
    first_bytes,
    opened_hdf5,
    parse_json,
    refuse_foreign,
)
from tinygrad_gpt.checkpoints.mapped_tensor import bfloat16_to_float32
from tinygrad_gpt.errors import CheckpointError, listed
from tinygrad_gpt.files import write_atomic, writes

__all__ = ["Checkpoint", "load", "load_metadata", "save"]

FORMAT = "tinygrad_gpt checkpoint"
VERSION = 1
MAX_MANIFEST = 2**21  # bytes; GPT-2 XL with its vocabulary needs 0.2 MiB, and JSON of 2 MiB can take 45 MiB of memory

MAX_EXTRA = 10_000  # members of a group that are listed in an error

PLAIN = {name: np.dtype(name).newbyteorder("<") for name in (
    "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")}
STORED = PLAIN | {"bool": np.dtype("u1"), "bfloat16": np.dtype("<u2")}  # HDF5 has neither: their bits are stored


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds: arrays by name, and JSON metadata."""

    tensors: dict[str, np.ndarray]
    metadata: dict[str, Any]


def save(path: str | Path, tensors: dict[str, np.ndarray], metadata: dict[str, Any]) -> None:
    """Write a checkpoint; when this returns, the file is on the disk, was read back, and is exact.

    The same input gives the same bytes.

    Args:
        path: the file; it is replaced in one step.
        tensors: arrays of any layout; float16/32/64, bfloat16, integers or bool. Names are free of "/".
        metadata: JSON values only (a tuple comes back as a list).

    Raises:
        CheckpointError: `cannot save 'x' (run/model.h5): dtype complex64 …`
        ResourceError, TinygradError: as `files.write_atomic`.
    """
    if not writes.get():
        return
    stored = {name: _storable(name, array, path) for name, array in tensors.items()}
    entries = {
        name: {"dtype": dtype, "shape": list(bits.shape), "digest": _digest(name, dtype, bits)}
        for name, (dtype, bits) in stored.items()
    }
    manifest = {"format": FORMAT, "version": VERSION, "metadata": metadata, "tensors": entries}
    try:
        text = json.dumps(manifest, sort_keys=True, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"cannot save metadata ({path}): {error}; give plain JSON values") from error
    image = _image(text, {name: bits for name, (_, bits) in stored.items()})
    write_atomic(path, image.getbuffer(), verify=_verify)


def load(path: str | Path) -> Checkpoint:
    """Read a checkpoint, exactly as it was saved, or refuse it.

    Args:
        path: a file that `save` wrote.

    Returns:
        Its tensors, in the order of their names, and its metadata. bfloat16 comes back as float32 (the same values).

    Raises:
        CheckpointError: `cannot load (run/model.h5): tensor 'wte.weight' is damaged (wrong digest); …`;
            also for a missing file, for files of other kinds, and for HDF5 files that point elsewhere.
    """
    with _opened(Path(path)) as (file, size):
        manifest = _read_manifest(file, size)
        tensors = dict(_read_tensors(file, manifest["tensors"]))
    return Checkpoint(tensors, manifest["metadata"])


def load_metadata(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint's metadata alone; its tensors are neither read nor verified.

    Raises:
        CheckpointError: as `load`.
    """
    with _opened(Path(path)) as (file, size):
        return _read_manifest(file, size)["metadata"]


def is_native(path: str | Path) -> bool:
    """Whether it is an HDF5 file with a manifest, which `load` reads.

    Raises:
        CheckpointError: as `load`, for a file that is missing or an HDF5 file that cannot be opened.
    """
    with explained(path):
        if not first_bytes(Path(path)).startswith(HDF5_SIGNATURE):
            return False
        with opened_hdf5(Path(path)) as (file, _):
            return "manifest" in file


def _verify(path: Path) -> None:
    """Read everything back, one tensor at a time."""
    with _opened(path) as (file, size):
        for _ in _read_tensors(file, _read_manifest(file, size)["tensors"]):
            pass


def _storable(name: str, array: np.ndarray, path: str | Path) -> tuple[str, np.ndarray]:
    """The name of the dtype and the contiguous little-endian bits that go into the file."""
    dtype = array.dtype.name
    if dtype not in STORED:
        raise CheckpointError(f"cannot save {name!r} ({path}): dtype {dtype} has no place in a checkpoint; convert it")
    if name in ("", ".") or "/" in name or not name.isprintable():
        raise CheckpointError(f"cannot save {name!r} ({path}): not a tensor name; use printable characters without /")
    bits = np.asarray(array, order="C")
    return dtype, bits.astype(STORED[dtype], copy=False) if dtype in PLAIN else bits.view(STORED[dtype])


def _digest(name: str, dtype: str, bits: np.ndarray) -> str:
    digest = hashlib.blake2b(json.dumps([name, dtype, bits.shape]).encode(), digest_size=32)
    digest.update(bits.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _image(manifest: bytes, arrays: dict[str, np.ndarray]) -> io.BytesIO:
    """The HDF5 file, built in memory: the library may crash when the disk is full."""
    import h5py

    text = hashlib.blake2b(manifest, digest_size=32).hexdigest().encode() + b"\n" + manifest
    image = io.BytesIO()
    with h5py.File(image, "w", libver=("v110", "v110")) as file:  # this version checksums its own structure
        file.create_dataset("manifest", data=np.frombuffer(text, np.uint8), track_times=False)
        group = file.create_group("tensors")
        for name in sorted(arrays):
            group.create_dataset(name, data=arrays[name], track_times=False)
    return image


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, int]]:
    """The open HDF5 file and its size in bytes; whatever goes wrong inside becomes one line that names the file."""
    with explained(path):
        start = first_bytes(path)
        if start[8:9] == b"{" and start[5:8] == b"\0\0\0":
            raise CheckpointError("it is a safetensors file; import it as a GPT-2 model")
        if not start.startswith(HDF5_SIGNATURE):
            refuse_foreign(start, "it is not an HDF5 file; give a checkpoint of this package")
        with opened_hdf5(path) as opened:
            yield opened


def _read_manifest(file: Any, size: int) -> dict[str, Any]:
    """The manifest, after its digest, its format and the declared sizes were checked."""
    if len(file) != 2 or set(file) != {"manifest", "tensors"}:
        raise CheckpointError("it is an HDF5 file of another program; give a checkpoint of this package")
    dataset = data_set(file, "manifest")
    if dataset.dtype != np.uint8 or dataset.ndim != 1 or dataset.size > min(size, MAX_MANIFEST):
        raise CheckpointError(f"'manifest' is {dataset.dtype} {dataset.shape}, not a line of text; use another copy")
    digest, _, text = dataset[()].tobytes().partition(b"\n")
    if hashlib.blake2b(text, digest_size=32).hexdigest().encode() != digest:
        raise CheckpointError("'manifest' is damaged (wrong digest); use another copy")
    manifest = parse_json(text)
    if not isinstance(manifest, dict) or manifest.keys() != {"format", "version", "metadata", "tensors"}:
        raise CheckpointError("'manifest' does not have the fields of a checkpoint; use another copy")
    if (manifest["format"], manifest["version"]) != (FORMAT, VERSION):
        found = f"{reprlib.repr(manifest['format'])}, version {reprlib.repr(manifest['version'])}"
        raise CheckpointError(f"it holds {found}, not {FORMAT!r}, version {VERSION}; use the program that wrote it")
    if not isinstance(manifest["metadata"], dict):
        raise CheckpointError(f"metadata is a {type(manifest['metadata']).__name__}, not a dict; use another copy")
    if not isinstance(manifest["tensors"], dict):
        raise CheckpointError(f"tensors is a {type(manifest['tensors']).__name__}, not a dict; use another copy")
    declared = sum(_bytes_of(name, entry) for name, entry in manifest["tensors"].items())
    if declared > size:
        raise CheckpointError(f"'tensors' declares {declared} bytes in a file of {size}; use another copy")
    return manifest


def _bytes_of(name: str, entry: Any) -> int:
    """The bytes that a tensor's entry declares, if it is an entry."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "digest"}:
        raise CheckpointError(f"tensor {name!r:.80} is not declared by dtype, shape and digest; use another copy")
    dtype, shape = entry["dtype"], entry["shape"]
    if not isinstance(dtype, str) or dtype not in STORED:
        raise CheckpointError(f"tensor {name!r:.80} is declared as {reprlib.repr(dtype)}; use another copy")
    if not isinstance(shape, list) or len(shape) > 32 or not all(type(n) is int and 0 <= n < 2**63 for n in shape):
        raise CheckpointError(f"tensor {name!r:.80} is declared with shape {reprlib.repr(shape)}; use another copy")
    return math.prod(shape) * STORED[dtype].itemsize


def _read_tensors(file: Any, entries: dict[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """Every tensor that the manifest names, and nothing else."""
    import h5py

    if file.get("tensors", getclass=True, getlink=True) is not h5py.HardLink:
        raise CheckpointError("'tensors' is a link to elsewhere; use another copy")
    group = file["tensors"]
    if len(group) > len(entries) + MAX_EXTRA:
        raise CheckpointError(f"'tensors' has {len(group):,} members, not {len(entries):,}; use another copy")
    if set(group) != set(entries):
        missing, extra = (listed(sorted(map(repr, names)), room=50) for names in (
            set(entries) - set(group), set(group) - set(entries)))
        raise CheckpointError(f"'tensors' lacks [{missing}] and has [{extra}] too many; use another copy")
    for name, entry in entries.items():
        dataset, expected = data_set(group, name), STORED[entry["dtype"]]
        if dataset.dtype != expected or dataset.shape != tuple(entry["shape"]):
            found, wanted = f"{dataset.dtype} {dataset.shape}", f"{expected} {tuple(entry['shape'])}"
            raise CheckpointError(f"tensor {name!r:.80} is {found}, but the manifest says {wanted}; use another copy")
        bits = np.asarray(dataset[()])
        if _digest(name, entry["dtype"], bits) != entry["digest"]:
            raise CheckpointError(f"tensor {name!r:.80} is damaged (wrong digest); use another copy")
        yield name, _restored(entry["dtype"], bits)


def _restored(dtype: str, bits: np.ndarray) -> np.ndarray:
    if dtype == "bool":
        return bits != 0
    if dtype == "bfloat16":
        return bfloat16_to_float32(bits)
    return bits
