"""Stand-ins for the published files, a few hundred bytes each, under the names and rules of the real ones."""

import hashlib
import random

from tinygrad_gpt.checkpoints import download
from tinygrad_gpt.checkpoints.download import Published

FILES = {"model.safetensors": random.Random(1).randbytes(4000), "vocab.json": b'{"a": 0}', "merges.txt": b"#version\n"}


def replace_models(monkeypatch, files=FILES, shape=(4, 1, 2)):
    """Let gpt2 and gpt2-xl stand for `files`; the length of the second one's weights is unknown."""
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    weights, *vocabulary = files
    monkeypatch.setattr(download, "MODELS", {
        "gpt2": Published("1a", digests[weights], len(files[weights]), *shape),
        "gpt2-xl": Published("2b", digests[weights], None, *shape)})
    monkeypatch.setattr(download, "VOCABULARY", tuple((name, digests[name], len(files[name])) for name in vocabulary))


def at(prefix, files=FILES):
    """The same, for a server."""
    return {f"{prefix}/{name}": data for name, data in files.items()}
