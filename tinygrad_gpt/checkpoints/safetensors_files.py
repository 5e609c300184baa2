"""safetensors files, with every rule of the format checked before a value is looked at.

    8 bytes    N, little-endian
    N bytes    JSON {name: {dtype, shape, data_offsets: [begin, end]}, "__metadata__": {text: text}}
    the rest   the tensors, without holes or overlap

The library's own NumPy loader reads no bfloat16 and maps nothing.

Source: https://github.com/huggingface/safetensors#format.
"""

import math
from pathlib import Path
from typing import Any

from tinygrad_gpt.checkpoints.hdf5_guard import parse_json
from tinygrad_gpt.checkpoints.mapped_tensor import StoredTensor
from tinygrad_gpt.errors import CheckpointError

__all__ = ["read_header", "read_index", "read_small"]

MAX_JSON = 2**20  # bytes; GPT-2 XL needs 80,000
BITS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32,
        "U16": 16, "U8": 8, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "C64": 64}


def read_header(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a file by name.

    Raises:
        CheckpointError: a reason without the file's name, such as "tensor 'wte.weight': dtype F32 and shape (2, 3)
            need 24 bytes, but data_offsets give 20; use another copy".
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(size - 8, MAX_JSON):
            raise CheckpointError(f"its header claims {length} bytes in a file of {size}, and {MAX_JSON} are the most "
                                  "that is read; use another copy")
        text = file.read(length)
    if not text.startswith(b"{"):
        raise CheckpointError("its header is not a JSON object; use another copy")
    entries = parse_json(text)
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise CheckpointError("its __metadata__ is not a map of texts; use another copy")
    start = 8 + length
    places = {name: _place(name, entry) for name, entry in entries.items()}
    _check_cover(places, size - start)
    return {name: StoredTensor(path, start + begin, entries[name]["dtype"], tuple(entries[name]["shape"]))
            for name, (begin, _) in places.items()}


def _place(name: str, entry: Any) -> tuple[int, int]:
    """Where a tensor begins and ends, behind the header."""
    if not name.isprintable() or len(name) > 256:
        raise CheckpointError(f"tensor {name[:80]!r}: not a name in at most 256 printable characters; use another copy")
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(f"tensor {name!r}: its entry is not dtype, shape and data_offsets; use another copy")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise CheckpointError(f"tensor {name!r}: unknown dtype {str(dtype)[:20]!r}; save it in float32")
    if not _natural(shape) or not _natural(offsets) or len(offsets) != 2:
        raise CheckpointError(f"tensor {name!r}: shape or data_offsets are not lists of whole numbers from 0 on; "
                              "use another copy")
    need = math.prod(shape) * BITS[dtype] // 8
    begin, end = offsets
    if begin + need != end:
        raise CheckpointError(f"tensor {name!r}: dtype {dtype} and shape {tuple(shape)} need {need} bytes, but "
                              f"data_offsets give {end - begin}; use another copy")
    return begin, end


def _natural(numbers: Any) -> bool:
    """A list of at most 32 integers from 0 to 2^63, as NumPy can index."""
    return isinstance(numbers, list) and len(numbers) <= 32 and all(
        type(number) is int and 0 <= number < 2**63 for number in numbers)


def _check_cover(places: dict[str, tuple[int, int]], size: int) -> None:
    """Each byte behind the header belongs to exactly one tensor."""
    at = 0
    for name, (begin, end) in sorted(places.items(), key=lambda item: item[1]):
        if begin != at:
            raise CheckpointError(f"tensor {name!r} begins at byte {begin} of the data, but the one before it ends at "
                                  f"{at}; use another copy")
        at = end
    if at != size:
        raise CheckpointError(f"its tensors end at byte {at} of {size} bytes of data; use another copy")


def read_index(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a model in several files, named by its `model.safetensors.index.json`.

    Raises:
        CheckpointError: as `read_header`; also where the index and a file disagree, or a name leads out of the folder.
    """
    index = parse_json(read_small(path))
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not all(isinstance(shard, str) for shard in places.values()):
        raise CheckpointError("it has no weight_map of tensors to files; give model.safetensors.index.json")
    tensors: dict[str, StoredTensor] = {}
    for shard in sorted(set(places.values())):
        if Path(shard).name != shard or not shard.isprintable():
            raise CheckpointError(f"its weight_map names {shard[:80]!r}, which is not a file beside it; "
                                  "use another copy")
        tensors |= _read_shard(path.parent / shard, {name for name in places if places[name] == shard})
    return tensors


def _read_shard(path: Path, names: set[str]) -> dict[str, StoredTensor]:
    if not path.is_file():
        raise CheckpointError(f"{path.name} is missing or not a regular file; fetch all files of the model")
    try:
        found = read_header(path)
    except CheckpointError as error:
        raise CheckpointError(f"{path.name}: {error}") from None
    if found.keys() != names:
        other = sorted(found.keys() ^ names)
        raise CheckpointError(f"{path.name} and the index disagree about {len(other)} tensors, the first is "
                              f"{other[0]!r}; fetch all files of the model")
    return found


def read_small(path: Path) -> bytes:
    """The bytes of a JSON file that describes a model."""
    with path.open("rb") as file:
        text = file.read(MAX_JSON + 1)
    if len(text) > MAX_JSON:
        raise CheckpointError(f"it is larger than {MAX_JSON} bytes; give a model's own file")
    return text
