"""Files of torch.save, made without PyTorch, and the instructions of their pickles, also for hostile ones."""

import struct
import zipfile
from pathlib import Path

import numpy as np

STORAGES = {"float32": "FloatStorage", "float16": "HalfStorage", "uint16": "BFloat16Storage", "int64": "LongStorage",
            "float64": "DoubleStorage"}  # uint16 stands for bfloat16
START, STOP = b"\x80\x02", b"."
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
ORDERED = b"ccollections\nOrderedDict\n)R"


def text(value: str) -> bytes:
    """The instruction for a text."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    """The instruction for a whole number."""
    if -2**31 <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def numbers(values) -> bytes:
    """The instructions for a tuple of whole numbers."""
    return b"(" + b"".join(number(value) for value in values) + b"t"


def storage(kind: str, key: str, count: int) -> bytes:
    return b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + number(count) + b"tQ"


def tensor(place: bytes, offset: int, shape, strides) -> bytes:
    return REBUILD + b"(" + place + number(offset) + numbers(shape) + numbers(strides) + b"\x89" + ORDERED + b"tR"


def c_strides(shape) -> tuple[int, ...]:
    return tuple(int(np.prod(shape[i + 1:], dtype=int)) for i in range(len(shape)))


def mapping(items: dict[str, bytes]) -> bytes:
    """The instructions for an OrderedDict, with attributes as a state_dict has them."""
    body = b"".join(text(name) + value for name, value in items.items())
    return ORDERED + b"(" + body + b"u}" + text("_metadata") + ORDERED + b"sb"


def pickled(tensors: dict[str, np.ndarray]) -> bytes:
    """The instructions for a state dict, each tensor in a storage of its own."""
    return mapping({name: tensor(storage(STORAGES[array.dtype.name], str(i), array.size), 0, array.shape,
                                 c_strides(array.shape)) for i, (name, array) in enumerate(tensors.items())})


def archive(path: Path, pickle: bytes, arrays=(), prefix="archive/", **records: bytes) -> Path:
    """A zip archive with a pickle, storages, and more records (data_1 is data/1)."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{prefix}data.pkl", pickle)
        file.writestr(f"{prefix}byteorder", records.pop("byteorder", b"little"))
        for i, array in enumerate(arrays):
            file.writestr(f"{prefix}data/{i}", np.ascontiguousarray(array).tobytes())
        for name, data in records.items():
            file.writestr(prefix + name.replace("_", "/"), data)
        file.writestr(f"{prefix}version", b"3\n")
    return path


def state_dict_file(path: Path, tensors: dict[str, np.ndarray], key: str | None = None) -> Path:
    """A state dict as torch.save writes it; with a key in a dict that has the state of an optimizer, too."""
    body = pickled(tensors)
    if key is not None:
        body = b"}(" + text(key) + body + text("optimizer_state_dict") + b"}" + text("step") + number(3) + b"su"
    return archive(path, START + body + STOP, list(tensors.values()))


def book_names(weights: dict[str, np.ndarray], head: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Weights under the names of S. Raschka's book, from Hugging Face's without prefix; the head is (out, in)."""
    outside = {"wte.weight": "tok_emb.weight", "wpe.weight": "pos_emb.weight", "ln_f.weight": "final_norm.scale",
               "ln_f.bias": "final_norm.shift"}
    inside = {"ln_1.weight": "norm1.scale", "ln_1.bias": "norm1.shift", "ln_2.weight": "norm2.scale",
              "ln_2.bias": "norm2.shift", "attn.c_proj": "att.out_proj", "mlp.c_fc": "ff.layers.0",
              "mlp.c_proj": "ff.layers.2"}
    named = {}
    for name, array in weights.items():
        if name in outside:
            named[outside[name]] = array
            continue
        _, i, layer = name.split(".", 2)
        block = f"trf_blocks.{i}."
        if layer in inside:
            named[block + inside[layer]] = array
            continue
        layer, kind = layer.rsplit(".", 1)
        if layer == "attn.c_attn":
            thirds = np.split(array.T, 3) if kind == "weight" else np.split(array, 3)
            for letter, third in zip(("query", "key", "value"), thirds, strict=True):
                named[f"{block}att.W_{letter}.{kind}"] = np.ascontiguousarray(third)
        else:
            named[f"{block}{inside[layer]}.{kind}"] = np.ascontiguousarray(array.T)
    for i in {name.split(".")[1] for name in named if name.startswith("trf_blocks")}:
        named[f"trf_blocks.{i}.att.mask"] = np.triu(np.ones((len(weights["wpe.weight"]),) * 2, np.float32), 1)
    named["out_head.weight"] = weights["wte.weight"] if head is None else head
    return named
