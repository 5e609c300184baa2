"""Half-precision copies of parameters, kept until the parameter changes."""

from collections.abc import Sequence
from typing import Any

from tinygrad_gpt.backend import Array, backend_of
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.ops.cuda.launch import Kernels
from tinygrad_gpt.ops.cuda.many_arrays import spans

__all__ = ["lowered"]

KERNELS = Kernels("blocks")


def lowered(tensors: Sequence[Tensor], dtype: Any) -> list[Array]:
    """The arrays of float32 tensors, C-ordered, rounded to a dtype; all that have changed are rounded in one launch.

    A copy belongs to the tensor's `Version`, which says when it changed: code that writes into an array calls
    `Tensor.mark_changed`. It is overwritten when the tensor has changed, since the tape then refuses what saved it.
    """
    stale = [t for t in tensors if not _is_current(t, dtype)]
    if stale:
        backend = backend_of(stale[0].data)
        for t in stale:
            copy = t._version.lowered and t._version.lowered[1]
            if copy is None or copy.dtype != dtype or copy.shape != t.shape:
                copy = backend.xp.empty(t.shape, dtype=dtype)
            t._version.lowered = t._version.changed, copy
        work, copies = spans(backend, tuple(t.data.size for t in stale)), [t._version.lowered[1] for t in stale]
        KERNELS.launch("round_all", copies[0], len(work), [t.data for t in stale], copies, work)
    return [t._version.lowered[1] for t in tensors]


def _is_current(t, dtype):
    if t._version.lowered is None:
        return False
    changed, copy = t._version.lowered
    return changed == t._version.changed and copy.dtype == dtype and copy.shape == t.shape
