"""`save` and `load` of tensors inside dicts and lists, with PyTorch's names and without its pickles.

The file is a checkpoint of `native.py`: the tensors are its tensors, and the dicts and lists around them are its
metadata. Loading it runs no code.
"""

from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_gpt.checkpoints import native
from tinygrad_gpt.engine.pytorch.device import backend_on
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import CheckpointError

__all__ = ["load", "save"]

PLAIN = (type(None), bool, int, str)
CONTAINERS = {"list": list, "tuple": tuple}
MAX_DEPTH = 100


def save(obj: Any, path: str | Path) -> None:
    """Write tensors, arrays, numbers and texts, in dicts, lists and tuples of any depth, to a file.

    Args:
        obj: a ``state_dict``, say, or a dict of several.
        path: the file; it is replaced in one step.

    Raises:
        CheckpointError: `cannot save (model.pth): a value is of type 'Module'; …`.
        ResourceError, TinygradError: as `files.write_atomic`.

    Source: torch.save; the files are not PyTorch's.

    Example:
        >>> save({"step": 3, "weights": model.state_dict()}, "model.pth")
    """
    arrays: dict[str, np.ndarray] = {}
    try:
        tree = _packed(obj, arrays, MAX_DEPTH)
    except CheckpointError as error:
        raise CheckpointError(f"cannot save ({path}): {error}") from None
    native.save(path, arrays, {"object": tree})


def load(path: str | Path, map_location: Any = None, *, weights_only: bool = True) -> Any:
    """Read what `save` wrote.

    Args:
        path: the file.
        map_location: the device for its tensors; None: that of the default backend.
        weights_only: either value reads the same, as no file of this kind can hold anything else.

    Returns:
        What was saved. Tensors are leaves that do not require gradients; bfloat16 comes back as float32.

    Raises:
        CheckpointError: as `native.load`; `cannot load (model.pth): it holds a model …`.
    """
    checkpoint = native.load(path)
    if set(checkpoint.metadata) != {"object"}:
        raise CheckpointError(f"cannot load ({path}): it was not written by save; read it with the command or class "
                              "that wrote it")
    return _unpacked(checkpoint.metadata["object"], checkpoint.tensors, map_location)


def _packed(value: Any, arrays: dict[str, np.ndarray], depth: int) -> Any:
    """The value as JSON; its tensors and arrays are put into ``arrays``."""
    if depth == 0:
        raise CheckpointError(f"dicts and lists are more than {MAX_DEPTH} deep; flatten them")
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, float):
        return ["float", value.hex()]  # JSON has neither infinity nor NaN
    if isinstance(value, Tensor | np.ndarray | np.generic):
        name = str(len(arrays))
        arrays[name] = value.numpy() if isinstance(value, Tensor) else np.asarray(value)
        return ["tensor" if isinstance(value, Tensor) else "array", name]
    if isinstance(value, dict):
        return ["dict", [[_packed(key, arrays, depth - 1), _packed(item, arrays, depth - 1)]
                         for key, item in value.items()]]
    for kind, container in CONTAINERS.items():
        if type(value) is container:
            return [kind, [_packed(item, arrays, depth - 1) for item in value]]
    raise CheckpointError(f"a value is of type {type(value).__name__!r}; give tensors, arrays, numbers and texts in "
                          "dicts, lists and tuples, such as a state_dict()")


def _unpacked(tree: Any, arrays: dict[str, np.ndarray], device: Any) -> Any:
    if not isinstance(tree, list):
        return tree
    kind, value = tree
    if kind == "float":
        return float.fromhex(value)
    if kind == "array":
        return arrays[value]
    if kind == "tensor":
        return Tensor(backend_on(device).from_numpy(arrays[value]))
    if kind == "dict":
        return {_unpacked(key, arrays, device): _unpacked(item, arrays, device) for key, item in value}
    return CONTAINERS[kind](_unpacked(item, arrays, device) for item in value)
