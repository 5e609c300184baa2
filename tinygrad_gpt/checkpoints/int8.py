"""Matrices in 8 bits: the rows of each as int8, and one float32 scale for each row.

The largest value of a row becomes ±127, so that no value changes by more than 1/254 of it. Vectors stay in float32:
they are few, and biases and norms are added to everything.
"""

from collections.abc import Mapping

import numpy as np

from tinygrad_gpt.errors import CheckpointError

__all__ = ["from_int8", "to_int8"]

SCALE = ".row_scale"  # behind the name of a matrix
LARGEST = 127


def to_int8(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the tensors with each matrix (N, M) as int8 and, under its name and `SCALE`, its scales (N).

    Raises:
        CheckpointError: "tensor 'wte.weight' has values that are not finite, …".
    """
    stored: dict[str, np.ndarray] = {}
    for name, array in tensors.items():
        if array.ndim != 2:
            stored[name] = array
            continue
        scale = np.abs(array).max(axis=1, initial=0).astype(np.float32) / LARGEST
        if not np.isfinite(scale).all():
            raise CheckpointError(f"tensor {name!r:.80} has values that are not finite, which int8 cannot hold; store "
                                  "the model in float32")
        divisor = np.where(scale > 0, scale, np.float32(1))[:, None]
        stored[name] = np.rint(array / divisor).clip(-LARGEST, LARGEST).astype(np.int8)
        stored[name + SCALE] = scale
    return stored


def from_int8(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what `to_int8` was given, rounded, in float32; other tensors as they are.

    Raises:
        CheckpointError: "'wte.weight.row_scale' is float32 (5,) and belongs to int8 (11, 6), expected a scale for each
            row …".
    """
    restored = {name: array for name, array in tensors.items() if not name.endswith(SCALE)}
    for name in tensors.keys() - restored.keys():
        matrix, scale = tensors.get(name.removesuffix(SCALE)), tensors[name]
        if matrix is None or (matrix.dtype, matrix.ndim) != (np.int8, 2) or scale.dtype != np.float32 \
                or scale.shape != matrix.shape[:1]:
            what = "nothing" if matrix is None else f"{matrix.dtype} {matrix.shape}"
            raise CheckpointError(f"{name!r:.80} is {scale.dtype} {scale.shape} and belongs to {what}, expected a "
                                  "scale for each row of an int8 matrix")
        restored[name.removesuffix(SCALE)] = matrix * scale[:, None]
    return restored
