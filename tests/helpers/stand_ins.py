"""Stand-ins for the published files, a few hundred bytes each, under the names and rules of the real ones."""

import hashlib
import random

from tinygrad_gpt.checkpoints import download
from tinygrad_gpt.checkpoints.download import Published, gpt2_config
from tinygrad_gpt.checkpoints.gpt2_files import write_gpt2
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config

FILES = {"model.safetensors": random.Random(1).randbytes(4000), "vocab.json": b'{"a": 0}', "merges.txt": b"#version\n"}


def replace_models(monkeypatch, files=FILES, shape=(4, 1, 2)):
    """Let gpt2 and gpt2-xl stand for `files`; the length of the second one's weights is unknown."""
    known = tuple((name, hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items())
    (weights, digest, _), *vocabulary = known
    monkeypatch.setattr(download, "MODELS", {
        "gpt2": Published("openai-community/gpt2", "1a", known, gpt2_config(*shape)),
        "gpt2-xl": Published("openai-community/gpt2-xl", "2b", ((weights, digest, None), *vocabulary),
                             gpt2_config(*shape))})


def narrow_gpt2(folder, shared_data):
    """A GPT-2 of one block and width 4 with the published vocabulary: the model, and its files."""
    model = GPT2(GPT2Config(n_embd=4, n_layer=1, n_head=2), seed=0)
    write_gpt2(folder, model.config.to_dict(), model.arrays())
    return model, {"model.safetensors": (folder / "model.safetensors").read_bytes(),
                   "vocab.json": (shared_data / "gpt2" / "encoder.json").read_bytes(),
                   "merges.txt": (shared_data / "gpt2" / "vocab.bpe").read_bytes()}


def at(prefix, files=FILES):
    """The same, for a server."""
    return {f"{prefix}/{name}": data for name, data in files.items()}
