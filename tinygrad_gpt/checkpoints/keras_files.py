"""tf_model.h5: the weights of a TensorFlow GPT-2, as Keras wrote them for Hugging Face.

    /transformer/tfgp_t2lm_head_model/transformer/wte/weight:0
                                                 /wpe/embeddings:0
                                                 /h_._0/ln_1/gamma:0
                                                 /h_._0/attn/c_attn/bias:0     (1, 3C)

The tensors lie in the file in one piece each, so that they are mapped like those of a safetensors file.
"""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_gpt.checkpoints.hdf5_guard import data_set, opened_hdf5
from tinygrad_gpt.checkpoints.mapped_tensor import StoredTensor
from tinygrad_gpt.errors import CheckpointError

__all__ = ["read_keras"]

MAX_MEMBERS = 20_000  # groups and data sets; GPT-2 XL has 1,500
MAX_DEPTH = 16  # levels of groups; a GPT-2 has 7
DTYPES = {"<f4": "F32", "<f2": "F16"}
KINDS = {"weight": "weight", "embeddings": "weight", "gamma": "weight", "bias": "bias", "beta": "bias"}


def read_keras(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a tf_model.h5, under the names they have in a safetensors file.

    Raises:
        CheckpointError: a reason without the file's name.
    """
    with opened_hdf5(path) as (file, size):
        tensors: dict[str, StoredTensor] = {}
        for place in _data_sets(file):
            name = _renamed(place)
            if name in tensors or not name.isprintable():
                raise CheckpointError(f"{name[:80]!r} is in it twice or is no name; use another copy")
            tensors[name] = _stored(path, size, data_set(file, place), name)
    if "wte.weight" not in tensors:
        raise CheckpointError("it is an HDF5 file of another program, without a GPT-2's transformer/*/transformer/wte; "
                              "give a checkpoint of this package or tf_model.h5")
    return tensors


def _data_sets(file: Any) -> list[str]:
    """The path of every data set, level by level; soft and external links are not followed."""
    import h5py

    found: list[str] = []
    groups, members = [("", file)], 0
    seen = {h5py.h5o.get_info(file.id).addr}  # a hard link may lead to a group again
    for depth in range(MAX_DEPTH + 1):
        if not groups:
            return found
        if depth == MAX_DEPTH:
            raise CheckpointError(f"its groups are nested more than {MAX_DEPTH} deep; give tf_model.h5")
        below = []
        for place, group in groups:
            members += len(group)
            if members > MAX_MEMBERS:
                raise CheckpointError(f"it has more than {MAX_MEMBERS} groups and data sets; give tf_model.h5")
            for name in group:
                if group.get(name, getclass=True, getlink=True) is h5py.HardLink:
                    kind = group.get(name, getclass=True)
                    if kind is h5py.Dataset:
                        found.append(f"{place}{name}")
                    elif kind is h5py.Group and (address := h5py.h5o.get_info(group[name].id).addr) not in seen:
                        seen.add(address)
                        below.append((f"{place}{name}/", group[name]))
        groups = below
    return found


def _renamed(place: str) -> str:
    """transformer/any/transformer/h_._3/ln_1/gamma:0 -> h.3.ln_1.weight; a place of another form stays as it is."""
    match = re.fullmatch(r"transformer/[^/]+/transformer/(.+)/(\w+):0", place)
    if not match or match[2] not in KINDS:
        return place
    return re.sub(r"^h_\._(\d+)/", r"h.\1.", match[1]).replace("/", ".") + f".{KINDS[match[2]]}"


def _stored(path: Path, size: int, dataset: Any, name: str) -> StoredTensor:
    shape: tuple[int, ...] = dataset.shape or ()
    offset, length = dataset.id.get_offset(), math.prod(shape) * dataset.dtype.itemsize
    if offset is None or offset + length > size:
        raise CheckpointError(f"{name!r} of shape {shape} does not lie in the file; use another copy")
    if name.endswith(".bias") and len(shape) == 2 and shape[0] == 1:
        shape = shape[1:]  # Keras keeps a bias as one row
    return StoredTensor(path, offset, DTYPES.get(np.dtype(dataset.dtype).str, str(dataset.dtype)), shape)
