"""The names and layouts under which programs keep the weights of a GPT-2, brought to those of Hugging Face.

    module., _orig_mod.      PyTorch's DataParallel and compile put these before a name, or inside one
    transformer., model.     models around the GPT-2 do
    attn.bias, masked_bias   the causal mask, which older files hold
    weights (out, in)        minGPT and nanoGPT keep a matrix as torch.nn.Linear does, GPT-2 as (in, out)
"""

import re
from collections.abc import Mapping

import numpy as np

from tinygrad_gpt.checkpoints.mapped_tensor import FileTensor, load_all
from tinygrad_gpt.errors import CheckpointError, listed

__all__ = ["check", "load", "plain_names", "transposed"]

WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
PREFIX = re.compile(r"^(?:(?:transformer|model)\.)+")
BUFFER = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")
MATRIX = re.compile(r"h\.\d+\.(attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)\.weight")
ROOM = 80  # characters for the problems: the path before them is part of the line


def plain_names(stored: Mapping[str, FileTensor]) -> dict[str, FileTensor]:
    """Return the tensors without what other programs put before their names, and without causal masks.

    Raises:
        CheckpointError: "it holds wte.weight both with and without the prefix 'transformer.' or another; …".
    """
    tensors: dict[str, FileTensor] = {}
    for name, tensor in stored.items():
        plain = PREFIX.sub("", WRAPPERS.sub("", name))
        if plain in tensors:
            raise CheckpointError(f"it holds {plain} both with and without the prefix 'transformer.' or another; use "
                                  "another copy")
        tensors[plain] = tensor
    return {name: tensor for name, tensor in tensors.items() if not BUFFER.fullmatch(name)}


def transposed(stored: Mapping[str, FileTensor], expected: Mapping[str, tuple[int, ...]]) -> set[str]:
    """Return the names of the matrices that are kept as (out, in): all of the blocks, or none.

    The shapes of three of the four matrices of a block tell; the fourth is square, and kept as the others are.
    """
    matrices = {name for name in stored.keys() & expected.keys() if MATRIX.fullmatch(name)}
    return matrices if all(stored[name].shape == expected[name][::-1] for name in matrices) else set()


def load(stored: Mapping[str, FileTensor], expected: Mapping[str, tuple[int, ...]],
         turned: set[str]) -> dict[str, np.ndarray]:
    """Return the arrays of a checked model; where a file has no biases at all, these are zeros."""
    tensors = load_all(stored)
    tensors |= {name: np.ascontiguousarray(tensors[name].T) for name in turned}
    return tensors | {name: np.zeros(shape, np.float32) for name, shape in expected.items() if name not in tensors}


def check(stored: Mapping[str, FileTensor], expected: Mapping[str, tuple[int, ...]], turned: set[str]) -> None:
    """Raise one error with what is wrong with the tensors.

    Raises:
        CheckpointError: "2 of the tensors do not fit: missing ln_f.bias (6,); unexpected head (2, 6); …".
    """
    no_biases = not any(name.endswith(".bias") for name in stored)  # nanoGPT's bias=False
    problems = [f"missing {name} {shape}" for name, shape in expected.items()
                if name not in stored and not (no_biases and name.endswith(".bias"))]
    for name, tensor in stored.items():
        shape = tensor.shape[::-1] if name in turned else tensor.shape
        if name not in expected:
            problems += [f"unexpected {name} {tensor.shape}"]
        elif shape != expected[name]:
            how = "transposed, " if shape[::-1] == expected[name] else ""
            problems += [f"{name} is {shape}, {how}expected {expected[name]}"]
        elif not tensor.is_float:
            problems += [f"{name} is {tensor.dtype}, expected F32, F16 or BF16"]
    if problems:
        raise CheckpointError(f"{len(problems):,} of the tensors do not fit: {listed(sorted(problems), '; ', ROOM)}; "
                              "does config.json belong to these weights?")
