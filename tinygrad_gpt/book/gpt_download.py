"""OpenAI's weights as the book's programs expect them: the module `gpt_download` of its repository, without TensorFlow.

Source: S. Raschka, *Build a Large Language Model (From Scratch)*, section 5.5, and its repository's gpt_download.py.
"""

from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_gpt.checkpoints.download import download, downloaded
from tinygrad_gpt.checkpoints.gpt2_files import read_gpt2
from tinygrad_gpt.errors import UsageError

__all__ = ["download_and_load_gpt2", "load_gpt2"]

SIZES = {"124M": "gpt2", "355M": "gpt2-medium", "774M": "gpt2-large", "1558M": "gpt2-xl"}


def download_and_load_gpt2(model_size: str, models_dir: str | Path) -> tuple[dict[str, int], dict[str, Any]]:
    """The settings and the weights of one size of GPT-2; they are fetched unless they are there already.

    Args:
        model_size: "124M", "355M", "774M" or "1558M".
        models_dir: holds the folder of that size, with OpenAI's files, or gets it.

    Returns:
        As `load_gpt2`.

    Raises:
        UsageError: "model_size is '125M'; …".
        CheckpointError, TinygradError: as in `download` and `read_gpt2`.
    """
    if model_size not in SIZES:
        raise UsageError(f"model_size is {model_size!r:.40} (download_and_load_gpt2); give {', '.join(SIZES)}")
    name, folder = SIZES[model_size], Path(models_dir) / model_size
    if (folder / "checkpoint").is_file():  # the book's own program has fetched OpenAI's files
        return load_gpt2(folder)
    return load_gpt2(downloaded(name) or download(name, folder=folder))


def load_gpt2(path: str | Path) -> tuple[dict[str, int], dict[str, Any]]:
    """Read a published GPT-2.

    Args:
        path: as in `checkpoints.gpt2_files.read_gpt2`.

    Returns:
        settings, with n_vocab, n_ctx, n_embd, n_head and n_layer, and params, nested dicts of arrays: ``wte``, ``wpe``,
        ``blocks``, and ``g`` and ``b`` of the last norm. Weights of linear layers, ``w``, are (n_in, n_out).

    Raises:
        CheckpointError: as in `read_gpt2`.
    """
    config, tensors = read_gpt2(path)
    settings = {"n_vocab": config["vocab_size"], **{name: config[name] for name in (
        "n_ctx", "n_embd", "n_head", "n_layer")}}
    params: dict[str, Any] = {"blocks": [{} for _ in range(config["n_layer"])]}
    for name, tensor in tensors.items():
        _put(params, name.split("."), tensor)
    return settings, params


def _put(params: dict[str, Any], path: list[str], tensor: np.ndarray) -> None:
    """Put "h.0.attn.c_attn.weight" at params["blocks"][0]["attn"]["c_attn"]["w"]."""
    *layers, kind = path
    if layers in (["wte"], ["wpe"]):
        params[layers[0]] = tensor
        return
    letter = "b" if kind == "bias" else "g" if layers[-1].startswith("ln_") else "w"
    place = params
    if layers[0] == "h":
        place, layers = params["blocks"][int(layers[1])], layers[2:]
    for layer in layers if layers != ["ln_f"] else []:
        place = place.setdefault(layer, {})
    place[letter] = tensor
