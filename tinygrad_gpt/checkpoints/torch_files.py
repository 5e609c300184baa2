"""A state dict as torch.save writes it (.pth, .pt, .bin): a zip archive of a pickle and the storages.

    NAME/data.pkl       a pickle of dicts, in which each tensor names a storage
    NAME/data/0 …       the storages, each in one piece, not compressed
    NAME/byteorder      little

Nothing is unpacked: the tensors are mapped where they lie in the archive.
"""

import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_gpt.checkpoints.mapped_tensor import Checksum, StoredTensor
from tinygrad_gpt.checkpoints.torch_pickle import STORAGES, Parts, read_pickle
from tinygrad_gpt.errors import CheckpointError

__all__ = ["read_torch"]

MAX_PICKLE = 2**23  # bytes; GPT-2 XL with the state of its optimizer needs 0.4 MB
MAX_RECORDS = 100_000
LOCAL_HEADER = 30  # bytes before the name of a record
SIZES = dict(STORAGES.values())
STATES = ("model_state_dict", "state_dict", "model", "module")  # where a checkpoint of several things has the weights
DAMAGED = "use another copy"


@dataclass(frozen=True)
class _Record:
    """Where the bytes of a record lie."""

    begin: int
    length: int
    crc: int


def read_torch(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a state dict by name; that of the model, where the file has the state of an optimizer as well.

    Raises:
        CheckpointError: a reason without the file's name: as `torch_pickle.read_pickle`; "its record 'data/0' is
            compressed, …".
    """
    records = _records(path)
    if "byteorder" in records and _content(path, records["byteorder"], "byteorder") != b"little":
        raise CheckpointError("its numbers are big-endian; save it on another machine")
    state = _state(read_pickle(_content(path, records["data.pkl"], "data.pkl")))
    return {name: _stored(path, name, parts, records) for name, parts in state.items()}


def _records(path: Path) -> dict[str, _Record]:
    """The records of the archive without the folder that they all are in, which do not overlap."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except zipfile.BadZipFile as error:
        raise CheckpointError(f"its zip archive is damaged ({str(error).lower()[:60]}); {DAMAGED}") from None
    folder = next((parts[0] for entry in entries if (parts := entry.filename.partition("/"))[2] == "data.pkl"), None)
    if folder is None:
        raise CheckpointError("it is a zip archive without data.pkl, not a file of torch.save; give a checkpoint")
    if len(entries) > MAX_RECORDS:
        raise CheckpointError(f"it has {len(entries):,} records; give a file of one model")
    records: dict[str, _Record] = {}
    with path.open("rb") as file:
        for entry in entries:
            place, _, name = entry.filename.partition("/")
            if place != folder or not name or name in records or ".." in name.split("/"):
                raise CheckpointError(f"its record {entry.filename[:60]!r} is there twice, or is not in its folder; "
                                      f"{DAMAGED}")
            if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 \
                    or entry.compress_size != entry.file_size:
                raise CheckpointError(f"its record {name[:60]!r} is compressed or encrypted, which torch.save does not "
                                      f"do; {DAMAGED}")
            file.seek(entry.header_offset)
            header = file.read(LOCAL_HEADER)
            if len(header) < LOCAL_HEADER or not header.startswith(b"PK\3\4"):
                raise CheckpointError(f"its record {name[:60]!r} has no header; {DAMAGED}")
            begin = entry.header_offset + LOCAL_HEADER + sum(struct.unpack("<HH", header[26:]))
            records[name] = _Record(begin, entry.file_size, entry.CRC)
    _check_apart(records, path.stat().st_size)
    return records


def _check_apart(records: Mapping[str, _Record], size: int) -> None:
    """Each record lies in the file, behind the end of the one before."""
    at = 0
    for name, record in sorted(records.items(), key=lambda item: (item[1].begin, item[1].length)):
        if record.begin < at or record.begin + record.length > size:
            raise CheckpointError(f"its record {name[:60]!r} overlaps another or reaches beyond the file; {DAMAGED}")
        at = record.begin + record.length


def _content(path: Path, record: _Record, name: str) -> bytes:
    if record.length > MAX_PICKLE:
        raise CheckpointError(f"its record {name!r} has {record.length} bytes, and {MAX_PICKLE} are the most that is "
                              "read; save model.state_dict() alone")
    with path.open("rb") as file:
        file.seek(record.begin)
        content = file.read(record.length)
    if zlib.crc32(content) != record.crc:
        raise CheckpointError(f"its record {name!r} is damaged (wrong checksum); {DAMAGED}")
    return content


def _state(found: Any) -> dict[str, Parts]:
    """The state dict: what was saved, or an entry of it."""
    for name in STATES:
        if isinstance(found, dict) and isinstance(found.get(name), dict):
            found = found[name]
            break
    if not isinstance(found, dict) or not any(isinstance(value, Parts) for value in found.values()):
        raise CheckpointError("it holds no state dict; save model.state_dict(), or a dict that has it as "
                              f"{STATES[0]!r}")
    if others := [name for name, value in found.items() if not isinstance(value, Parts) or not isinstance(name, str)]:
        raise CheckpointError(f"its state dict has {len(others)} entries that are no tensors with names, the first is "
                              f"{others[0]!r:.60}; save model.state_dict()")
    if odd := [name for name in found if not name.isprintable() or len(name) > 256]:
        raise CheckpointError(f"tensor {odd[0][:80]!r}: not a name in at most 256 printable characters; {DAMAGED}")
    return found


def _stored(path: Path, name: str, parts: Parts, records: Mapping[str, _Record]) -> StoredTensor:
    storage, size = parts.storage, SIZES[parts.storage.dtype]
    record = records.get(f"data/{storage.key}")
    if record is None or record.length != storage.count * size:
        there = "not there" if record is None else f"of {record.length} bytes, not {storage.count * size}"
        raise CheckpointError(f"tensor {name[:80]!r}: its storage {storage.key[:40]!r} is {there}; {DAMAGED}")
    return StoredTensor(path, record.begin + parts.offset * size, storage.dtype, parts.shape,
                        None if parts.is_plain else parts.strides,
                        Checksum(record.begin, record.length, record.crc, _crc32))


def _crc32(data: np.ndarray) -> int:
    return zlib.crc32(data.data)
