"""GPT-2 as OpenAI published it: a checkpoint of TensorFlow, read without TensorFlow.

    checkpoint                            names the checkpoint of the folder: model_checkpoint_path: "model.ckpt"
    model.ckpt.index                      a sorted table: the name of a tensor -> its BundleEntryProto
    model.ckpt.data-00000-of-00001        the tensors, little-endian
    hparams.json                          n_vocab, n_ctx, n_embd, n_head, n_layer
    encoder.json, vocab.bpe               the vocabulary

    model/h3/attn/c_attn/w                (1, C, 3C); b for a bias, g and b for the weight and bias of a norm

Source: TensorFlow, `tensor_bundle.h` and `tensor_bundle.proto`; https://github.com/openai/gpt-2, `model.py`.
"""

import math
import re
from pathlib import Path

from tinygrad_gpt.checkpoints.crc32c import masked_crc32c
from tinygrad_gpt.checkpoints.mapped_tensor import FLOATS, Checksum, StoredTensor
from tinygrad_gpt.checkpoints.sorted_table import FOOTER, is_table, read_table, varint
from tinygrad_gpt.errors import CheckpointError

__all__ = ["checkpoint_index", "is_index", "read_tensorflow"]

MAX_INDEX = 2**24  # bytes; that of GPT-2 XL has 20,000
DTYPES = {1: "F32", 2: "F64", 3: "I32", 9: "I64", 14: "BF16", 19: "F16"}  # TensorFlow's types.proto
OPTIMIZER = re.compile(r"/Adam(_\d+)?$")
KINDS = {"w": "weight", "g": "weight", "b": "bias"}
DAMAGED = "use another copy"


def checkpoint_index(folder: Path) -> Path | None:
    """The index of the checkpoint in a folder: the one that its file `checkpoint` names, or the only one."""
    found = sorted(folder.glob("*.index"))
    state = folder / "checkpoint"
    if state.is_file():
        with state.open("rb") as file:
            text = file.read(4096).decode(errors="replace")
        if match := re.match(r'model_checkpoint_path: "(?:[^"\n]*/)?([^"/\n]+)"', text):
            named = folder / f"{match[1]}.index"
            if not named.is_file():
                raise CheckpointError(f"its file 'checkpoint' names {match[1][:60]!r}, but {named.name[:66]!r} is not "
                                      "there; fetch all files of the model")
            return named
    return found[0] if len(found) == 1 else None


def is_index(path: Path) -> bool:
    """Whether a file is a sorted table, by its last bytes."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - FOOTER, 0))
        return is_table(file.read())


def read_tensorflow(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a checkpoint, under the names they have in a safetensors file; those of an optimizer are left out.

    Args:
        path: its index, model.ckpt.index; the files of data are beside it.

    Raises:
        CheckpointError: a reason without the file's name: "model.ckpt.data-00000-of-00001 is missing; …".
    """
    if path.stat().st_size > MAX_INDEX:
        raise CheckpointError(f"it is larger than {MAX_INDEX} bytes; give the model.ckpt.index of a GPT-2")
    entries = read_table(path.read_bytes())
    shards = _shards(path, entries.pop(b"", b""))
    tensors: dict[str, StoredTensor] = {}
    for key, entry in entries.items():
        name = key.decode(errors="replace")
        if not name.isprintable() or len(name) > 256:
            raise CheckpointError(f"tensor {name[:80]!r}: not a name in at most 256 printable characters; {DAMAGED}")
        if name.startswith("model/") and not OPTIMIZER.search(name):
            tensors[_renamed(name)] = _stored(name, entry, shards)
    if "wte.weight" not in tensors:
        raise CheckpointError("it is a TensorFlow checkpoint of another model, without model/wte; give OpenAI's GPT-2")
    return tensors


def _renamed(name: str) -> str:
    """model/h3/ln_1/g -> h.3.ln_1.weight; a name of another form stays as it is."""
    place = name.removeprefix("model/")
    if place in ("wte", "wpe"):
        return f"{place}.weight"
    match = re.fullmatch(r"(?:h(\d{1,9})/)?([a-z0-9_/]+)/([wgb])", place)
    if not match:
        return name
    block = "" if match[1] is None else f"h.{match[1]}."
    return f"{block}{match[2].replace('/', '.')}.{KINDS[match[3]]}"


def _shards(path: Path, header: bytes) -> list[Path]:
    """The files of data that a BundleHeaderProto tells of."""
    numbers, _ = _fields(header)  # 1: num_shards, 2: endianness; 3: version
    count, big_endian = numbers.get(1, 0), numbers.get(2, 0)
    if not 1 <= count <= 1000 or big_endian:
        raise CheckpointError(f"its header tells of {count} files in byte order {big_endian}, expected 1 to 1,000, "
                              f"little-endian; {DAMAGED}")
    stem = path.name.removesuffix(".index")
    files = [path.with_name(f"{stem}.data-{i:05d}-of-{count:05d}") for i in range(count)]
    for file in files:
        if not file.is_file():
            raise CheckpointError(f"{file.name} is missing or not a regular file; fetch all files of the model")
    return files


def _stored(name: str, entry: bytes, shards: list[Path]) -> StoredTensor:
    """The place that a BundleEntryProto gives."""
    numbers, messages = _fields(entry)  # 1: dtype, 3: shard_id, 4: offset, 5: size, 6: crc32c; 2: shape, 7: slices
    number, shard, offset, size, crc = (numbers.get(field, 0) for field in (1, 3, 4, 5, 6))
    if 7 in messages or len(messages.get(2, ())) > 1:
        raise CheckpointError(f"tensor {name!r:.60} is kept in slices; save it as a whole")
    shape = _shape(messages.get(2, [b""])[0], name)
    dtype = DTYPES.get(number, f"type {number}")
    if dtype in FLOATS and math.prod(shape) * FLOATS[dtype].itemsize != size:
        raise CheckpointError(f"tensor {name!r:.60}: {dtype} of shape {shape!s:.40} does not take the {size} bytes of "
                              f"its entry; {DAMAGED}")
    if shard >= len(shards) or offset + size > shards[shard].stat().st_size:
        raise CheckpointError(f"tensor {name!r:.60} is said to end at byte {offset + size} of file {shard}, and there "
                              f"is no such byte; {DAMAGED}")
    if len(shape) == 3 and shape[0] == 1 and name.endswith("/w"):
        shape = shape[1:]  # the width of a convolution
    return StoredTensor(shards[shard], offset, dtype, shape, checksum=Checksum(offset, size, crc, masked_crc32c))


def _shape(message: bytes, name: str) -> tuple[int, ...]:
    """The sizes in a TensorShapeProto, of at most 8 axes."""
    numbers, messages = _fields(message)  # 2: dim, of which 1 is the size; 3: the rank is unknown
    sizes = tuple(_fields(dim)[0].get(1, 0) for dim in messages.get(2, []))
    if numbers.get(3) or len(sizes) > 8 or not all(size < 2**63 for size in sizes):
        raise CheckpointError(f"tensor {name!r:.60} has no shape of at most 8 axes; {DAMAGED}")
    return sizes


def _fields(message: bytes) -> tuple[dict[int, int], dict[int, list[bytes]]]:
    """The numbers of a message, and its texts and messages in order, by field; the wire format of protocol buffers."""
    numbers: dict[int, int] = {}
    messages: dict[int, list[bytes]] = {}
    at = 0
    while at < len(message):
        tag, at = varint(message, at)
        field, kind = tag >> 3, tag & 7
        if kind == 0:
            numbers[field], at = varint(message, at)
            continue
        length = {1: 8, 5: 4}.get(kind, 0)
        if kind == 2:
            length, at = varint(message, at)
        if kind not in (1, 2, 5) or at + length > len(message):
            raise CheckpointError(f"one of its messages is damaged at byte {at}; {DAMAGED}")
        if kind == 2:
            messages.setdefault(field, []).append(message[at:at + length])
        else:
            numbers[field] = int.from_bytes(message[at:at + length], "little")
        at += length
    return numbers, messages
