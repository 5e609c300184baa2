"""A checkpoint as TensorFlow writes it: sorted tables in several blocks, and OpenAI's GPT-2 in one."""

import json
import struct
from pathlib import Path

import numpy as np

DTYPES = {"float32": 1, "float64": 2, "int64": 9, "uint16": 14, "float16": 19}  # uint16 stands for bfloat16


def shifted(crc: int) -> int:
    """A state behind eight bits, one by one."""
    for _ in range(8):
        crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc


TABLE = [shifted(octet) for octet in range(256)]


def crc32c(data: bytes) -> int:
    """The checksum, byte by byte."""
    crc = 0xFFFFFFFF
    for octet in data:
        crc = crc >> 8 ^ TABLE[(crc ^ octet) & 255]
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(number: int) -> bytes:
    octets = []
    while number > 127:
        octets.append(number & 127 | 128)
        number >>= 7
    return bytes([*octets, number])


def block(entries: list[tuple[bytes, bytes]], restart: int) -> bytes:
    """Entries that leave out what they share with the key before, except every `restart`-th."""
    data, restarts, last = b"", [], b""
    for i, (key, value) in enumerate(entries):
        shared = 0
        if i % restart == 0:
            restarts.append(len(data))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        data += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    restarts = restarts or [0]
    return data + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def table(entries: dict[bytes, bytes], per_block: int = 7, restart: int = 3, compression: int = 0) -> bytes:
    """A sorted table in blocks of `per_block` entries."""
    data, index = b"", []

    def put(content: bytes, kind: int = 0) -> bytes:
        nonlocal data
        place = varint(len(data)) + varint(len(content))
        data += content + bytes([kind]) + struct.pack("<I", masked(content + bytes([kind])))
        return place

    ordered = sorted(entries.items())
    for i in range(0, len(ordered), per_block):
        part = ordered[i:i + per_block]
        index.append((part[-1][0], put(block(part, restart), compression)))
    places = put(block([], restart)) + put(block(index, 1))
    return data + places.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")


def field(number: int, value: int | bytes) -> bytes:
    """A field of a message, a varint or bytes."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def entry(array: np.ndarray, offset: int, data: bytes, shard: int = 0) -> bytes:
    """A BundleEntryProto."""
    shape = b"".join(field(2, field(1, size) if size else b"") for size in array.shape)
    return field(1, DTYPES[array.dtype.name]) + field(2, shape) + (field(3, shard) if shard else b"") + \
        (field(4, offset) if offset else b"") + field(5, len(data)) + varint(6 << 3 | 5) + \
        struct.pack("<I", masked(data))


def write(folder: Path, tensors: dict[str, np.ndarray], shards: int = 1, **settings) -> Path:
    """A checkpoint model.ckpt of these tensors; returns its index."""
    entries = {b"": field(1, shards) + field(3, field(1, 1))}
    files = [b""] * shards
    for i, (name, array) in enumerate(sorted(tensors.items())):
        shard, data = i % shards, np.ascontiguousarray(array).tobytes()
        entries[name.encode()] = entry(array, len(files[shard]), data, shard)
        files[shard] += data
    for i, data in enumerate(files):
        (folder / f"model.ckpt.data-{i:05d}-of-{shards:05d}").write_bytes(data)
    (folder / "checkpoint").write_text("".join(f'{name}model_checkpoint_path{s}: "model.ckpt"\n'
                                               for name, s in (("", ""), ("all_", "s"))))
    path = folder / "model.ckpt.index"
    path.write_bytes(table(entries, **settings))
    return path


def openai_names(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights under OpenAI's names, from Hugging Face's without prefix: h.0.attn.c_attn.weight of (C, 3C), say."""
    named = {}
    for name, array in weights.items():
        *layers, kind = name.split(".")
        if layers in (["wte"], ["wpe"]):
            named[f"model/{layers[0]}"] = array
            continue
        norm = layers[-1].startswith("ln_")
        letter = "b" if kind == "bias" else "g" if norm else "w"
        place = "/".join(layers).replace("h/", "h", 1) if layers[0] == "h" else layers[0]
        named[f"model/{place}/{letter}"] = array[None] if letter == "w" else array
    return named


def openai_folder(folder: Path, weights: dict[str, np.ndarray], n_head: int, **settings) -> Path:
    """A GPT-2 as OpenAI published it, without its vocabulary."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder, openai_names(weights), **settings)
    vocab_size, width = weights["wte.weight"].shape
    (folder / "hparams.json").write_text(json.dumps({
        "n_vocab": vocab_size, "n_ctx": len(weights["wpe.weight"]), "n_embd": width, "n_head": n_head,
        "n_layer": len({name.split(".")[1] for name in weights if name.startswith("h.")})}))
    (folder / "model.ckpt.meta").write_bytes(b"a graph, which is not read")
    return folder
