"""Published models, as other programs write them, small enough for a test."""

import json
import struct
from pathlib import Path

import h5py
import numpy as np

from tinygrad_gpt.checkpoints.bert_names import published_names
from tinygrad_gpt.checkpoints.masked_head import HEAD
from tinygrad_gpt.models.bert import Bert, BertConfig
from tinygrad_gpt.models.masked_lm import MaskedLM
from tinygrad_gpt.text import WordPiece

BLOCK = {"ln_1.weight": (1,), "ln_1.bias": (1,), "attn.c_attn.weight": (1, 3), "attn.c_attn.bias": (3,),
         "attn.c_proj.weight": (1, 1), "attn.c_proj.bias": (1,), "ln_2.weight": (1,), "ln_2.bias": (1,),
         "mlp.c_fc.weight": (1, 4), "mlp.c_fc.bias": (4,), "mlp.c_proj.weight": (4, 1), "mlp.c_proj.bias": (1,)}
DTYPES = {"float32": "F32", "float16": "F16", "float64": "F64", "uint16": "BF16", "uint8": "U8", "int64": "I64"}


def weights(vocab_size=11, n_ctx=7, width=6, n_layer=2, seed=0) -> dict[str, np.ndarray]:
    """Random float32 weights under Hugging Face's names without prefix; uint16 stands for bfloat16."""
    random = np.random.default_rng(seed)
    shapes = {"wte.weight": (vocab_size, width), "wpe.weight": (n_ctx, width),
              "ln_f.weight": (width,), "ln_f.bias": (width,)}
    for i in range(n_layer):
        shapes |= {f"h.{i}.{name}": tuple(width * n for n in times) for name, times in BLOCK.items()}
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def header_of(tensors: dict[str, np.ndarray]) -> tuple[dict, bytes]:
    """The JSON header and the data of a safetensors file."""
    header, data = {}, b""
    for name, array in tensors.items():
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": DTYPES[array.dtype.name], "shape": list(array.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    return header, data


def packed(header, data: bytes, align: int | None = 8) -> bytes:
    """A safetensors file; without `align` the data begin wherever the header ends."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-len(text) % align) if align else b""
    return struct.pack("<Q", len(text)) + text + data


def safetensors_file(path: Path, tensors: dict[str, np.ndarray], align: int | None = 8) -> Path:
    path.write_bytes(packed(*header_of(tensors), align))
    return path


def config_file(folder: Path, **content) -> Path:
    """A config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps({"model_type": "gpt2", "activation_function": "gelu_new", **content}))
    return path


def keras_place(name: str) -> str:
    """Where a tensor lies in tf_model.h5."""
    *layers, kind = name.split(".")
    norm = layers[-1].startswith("ln_")
    kind = {"weight": "gamma", "bias": "beta"}[kind] if norm else kind
    kind = "embeddings" if layers == ["wpe"] else kind
    place = "/".join(layers).replace("h/", "h_._", 1) if layers[0] == "h" else layers[0]
    return f"transformer/tfgp_t2lm_head_model/transformer/{place}/{kind}:0"


def keras_file(path: Path, tensors: dict[str, np.ndarray]) -> Path:
    """A tf_model.h5 in Hugging Face's layout: biases of matrices are one row."""
    with h5py.File(path, "w") as file:
        file.create_group("top_level_model_weights")
        for name, array in tensors.items():
            row = name.endswith(".bias") and "ln_" not in name
            file[keras_place(name)] = array[None] if row else array
    return path


def bfloat16(array: np.ndarray) -> np.ndarray:
    """The upper halves of float32 values."""
    return (np.ascontiguousarray(array).view(np.uint32) >> 16).astype(np.uint16)


def masked_lm(folder: Path, tokenizer: WordPiece, has_head: bool = True, seed: int = 0) -> MaskedLM:
    """A BertForMaskedLM of two narrow blocks and its vocabulary in a folder, or the BertModel alone; the model."""
    config = BertConfig(tokenizer.vocab_size, n_ctx=24, n_embd=12, n_layer=2, n_head=2, n_inner=20, pooler="none")
    model = MaskedLM(Bert(config, seed), seed).eval()
    for parameter in model.parameters():  # so that answers differ from place to place
        parameter.data += np.random.default_rng(parameter.size).normal(0, 0.3, parameter.shape).astype(np.float32)
    tensors = {}
    for name, array in model.arrays().items():
        if name.startswith("transformer."):
            embedding, name = name.split(".")[1] in ("wte", "wpe", "wtt"), name.removeprefix("transformer.")
            parts = published_names(name, "bert")
            theirs = {f"bert.{part}": own for part, own in zip(parts, np.split(array, len(parts), -1), strict=True)}
            tensors |= {part: own if embedding else own.T for part, own in theirs.items()}
        elif has_head:
            layer, _, kind = name.removeprefix("masked_head.").rpartition(".")
            tensors[f"{HEAD['bert'][layer]}.{kind}" if layer else HEAD["bert"]["bias"][0]] = array.T
    folder.mkdir(parents=True, exist_ok=True)
    safetensors_file(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps({
        "model_type": "bert", "vocab_size": config.vocab_size, "hidden_size": 12, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 20, "max_position_embeddings": 24, "pad_token_id": 0}))
    tokenizer.save_pretrained(folder)
    return model
