"""Whether named arrays fit named tensors, for `Module.load_state_dict`."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from tinygrad_gpt.backend import is_integer
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import CheckpointError, listed

__all__ = ["Matched", "host_dtype", "matching"]


class Matched(NamedTuple):
    """Names that `Module.load_state_dict` could not use."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self):
        if not any(self):
            return "<All keys matched successfully>"
        return f"Matched(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


def matching(own: Mapping[str, Tensor], state: Mapping, strict: bool = True) -> tuple[
        list[tuple[Tensor, np.ndarray]], Matched]:
    """Tensors with the arrays of their names.

    Args:
        own: the tensors to be overwritten.
        state: arrays or tensors.
        strict: whether every name must be in both.

    Raises:
        CheckpointError: counts what is missing, unexpected, misshapen, of another kind, or not finite, and lists as
            much of it as one line holds.
    """
    arrays = {name: value.numpy() if isinstance(value, Tensor) else np.asarray(value) for name, value in state.items()}
    missing, unexpected = [name for name in own if name not in arrays], [name for name in arrays if name not in own]
    problems = [f"missing {name} {own[name].shape}" for name in missing if strict]
    problems += [f"unexpected {name} {arrays[name].shape}" for name in unexpected if strict]
    for name in own.keys() & arrays.keys():
        problems += _misfits(name, own[name], arrays[name])
    if problems:
        raise CheckpointError(f"load_state_dict: {len(problems):,} of the tensors do not fit: "
                              f"{listed(sorted(problems), '; ')}; was it saved from another configuration?")
    return [(own[name], arrays[name]) for name in own if name in arrays], Matched(missing, unexpected)


def host_dtype(tensor: Tensor) -> np.dtype:
    """The tensor's dtype on the host."""
    return np.dtype(str(tensor.dtype))


def _misfits(name, tensor, array):
    if array.shape != tensor.shape:
        return [f"{name} is {array.shape}, expected {tensor.shape}"]
    if is_integer(tensor.dtype):
        return [] if array.dtype.kind in "biu" else [f"{name} is {array.dtype}, expected {tensor.dtype}"]
    if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
        return [f"{name} is {array.dtype}, expected floats"]
    with np.errstate(over="ignore", invalid="ignore"):  # a float64 beyond float32 would become infinite
        values = array.astype(host_dtype(tensor), copy=False)
        if values.dtype.itemsize > 2 and values.size and np.isfinite(_row_sums(values)).all():
            return []
        finite = np.isfinite(values)
    if not finite.all():
        return [f"{name} holds {np.count_nonzero(~finite)} values that are not finite as {tensor.dtype}"]
    return []


def _row_sums(values):
    """Sums over the last axis, as a product: one pass on all cores, without an array of the size of the values.

    A value that is not finite makes its sum so. A sum of finite values may overflow as well.
    """
    rows = values.reshape(-1, values.shape[-1] if values.ndim else 1)
    return rows @ np.ones(rows.shape[1], values.dtype)
