"""cuDNN's attention as NVIDIA's package `cudnn` documents it, computed by NumPy on addresses of host memory.

A graph refuses what the library refuses: a tensor without a type, uid or layout, rows that do not begin at multiples of
16 bytes, settings that it does not know, a workspace that is too small, memory that is not an array's any more.
"""

import contextlib
import ctypes
import math
import sys
import weakref
from enum import Enum
from types import SimpleNamespace

import cuda_on_cpu
import fake_cublas
import ml_dtypes
import numpy as np
import pytest

from tinygrad_gpt.backend import on_backend
from tinygrad_gpt.backend.cudnn import attention, load_cudnn
from tinygrad_gpt.ops.cuda import cudnn_attention

__all__ = ["Library", "in_force"]

data_type = Enum("data_type", ["FLOAT", "HALF", "BFLOAT16", "NOT_SET"])
heur_mode = Enum("heur_mode", ["A", "B", "FALLBACK"])
DTYPES = {data_type.FLOAT: np.dtype(np.float32), data_type.HALF: np.dtype(np.float16),
          data_type.BFLOAT16: np.dtype(ml_dtypes.bfloat16)}
FORWARD = {"attn_scale", "generate_stats", "diagonal_band_right_bound", "dropout"}
BACKWARD = {"attn_scale", "use_deterministic_algorithm", "diagonal_band_right_bound", "dropout"}
STREAM = 7
_memory: list[weakref.ref] = []  # of the arrays that were made while they are tracked


@contextlib.contextmanager
def in_force():
    """A new `Library` is cuDNN in this block, and in force on the backend "emulated"."""
    cuda = SimpleNamespace(**vars(fake_cublas.cuda))
    cuda.runtime = SimpleNamespace(**vars(cuda.runtime), getDevice=lambda: 0)
    cuda.get_current_stream = lambda: SimpleNamespace(ptr=STREAM)
    load_cudnn.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuda_on_cpu.arrays.Package, "cuda", cuda)
        patch.setattr(cudnn_attention, "_GRAPHS", cudnn_attention.Graphs())
        patch.setitem(sys.modules, "cudnn", library := Library())
        with tracked(cuda_on_cpu.arrays.Array), on_backend("emulated"), attention("cudnn"):
            yield library
    load_cudnn.cache_clear()


@contextlib.contextmanager
def tracked(array_type):
    """Remember the memory of every array of this type that is made in this block."""
    made = array_type.__init__

    def init(self, memory, *rest):
        made(self, memory, *rest)
        owner = memory
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        _memory.append(weakref.ref(owner))

    array_type.__init__ = init
    try:
        yield
    finally:
        array_type.__init__ = made
        _memory.clear()


def _check_alive(address, size):
    owners = [owner for ref in _memory if (owner := ref()) is not None]
    assert any(owner.ctypes.data <= address and address + size <= owner.ctypes.data + owner.nbytes
               for owner in owners), "an address that is no array's"


def _setter(name):
    """A method that sets an attribute and returns the object, as those of the library do."""
    def set_attribute(self, value):
        setattr(self, name, value)
        return self

    return set_attribute


class Tensor:
    """A tensor of a graph; one that an op makes is described by the caller afterwards."""

    def __init__(self, dim=None, stride=None, kind=None, uid=None, virtual=False):
        self.dim, self.stride, self.kind, self.uid, self.virtual = dim, stride, kind, uid, virtual

    def set_output(self, value):
        self.virtual = not value
        return self

    set_uid, set_dim, set_stride, set_data_type = map(_setter, ("uid", "dim", "stride", "kind"))

    def check(self):
        assert not self.virtual, "an output that nobody reads"
        assert self.kind in DTYPES
        assert isinstance(self.uid, int)
        assert [*map(type, (self.dim, self.stride))] == [list, list]
        assert len(self.dim) == len(self.stride) == 4
        assert self.stride[-1] == 1
        assert min(self.stride) > 0

    def check_rows(self):
        assert all(step * DTYPES[self.kind].itemsize % 16 == 0 for step in self.stride[:-1]), "unaligned rows"

    def at(self, address):
        """The array at an address."""
        dtype = DTYPES[self.kind]
        size = dtype.itemsize * (1 + sum((n - 1) * step for n, step in zip(self.dim, self.stride, strict=True)))
        _check_alive(address, size)
        assert address % (16 if self.dim[-1] > 1 else dtype.itemsize) == 0
        memory = np.frombuffer((ctypes.c_byte * size).from_address(address), np.uint8).view(dtype)
        return np.lib.stride_tricks.as_strided(memory, self.dim, [step * dtype.itemsize for step in self.stride])


class Graph:
    """A graph with one op."""

    def __init__(self, library, handle, io_data_type, intermediate_data_type, compute_data_type):
        assert io_data_type in (data_type.HALF, data_type.BFLOAT16)
        assert intermediate_data_type is compute_data_type is data_type.FLOAT
        self.library, self.handle, self.tensors, self.built = library, handle, [], False

    def tensor(self, dim, stride, data_type, name, uid):
        self.tensors.append(Tensor(dim, stride, data_type, uid))
        return self.tensors[-1]

    def sdpa(self, q, k, v, **settings):
        assert settings.keys() <= FORWARD
        assert settings["generate_stats"] is True
        return self._op(_forward, [q, k, v], settings, 2, 2)

    def sdpa_backward(self, q, k, v, o, dO, stats, **settings):
        assert settings.keys() <= BACKWARD
        assert settings["use_deterministic_algorithm"] is True
        return self._op(_backward, [q, k, v, o, dO, stats], settings, 3, 3)

    def _op(self, function, inputs, settings, factors, outputs):
        assert settings.get("diagonal_band_right_bound", 0) == 0
        dropout = settings.get("dropout", ())
        assert len(dropout) in (0, factors)
        self.inputs, self.outputs = [*inputs, *dropout], [Tensor(virtual=True) for _ in range(outputs)]
        assert {*map(id, self.inputs)} == {*map(id, self.tensors)}
        self.function, self.scale = function, settings["attn_scale"]
        self.causal = "diagonal_band_right_bound" in settings
        return self.outputs

    def build(self, modes):
        assert modes == [heur_mode.A, heur_mode.FALLBACK]
        if self.library.refuses:
            raise self.library.cudnnGraphNotSupportedError(self.library.refuses)
        for tensor in self.inputs + self.outputs:
            tensor.check()
        uids = [tensor.uid for tensor in self.inputs + self.outputs]
        assert len({*uids}) == len(uids)
        q, k, v = self.inputs[:3]
        for tensor in self.inputs + self.outputs:
            if tensor.dim == q.dim:
                tensor.check_rows()
        assert q.dim == k.dim == v.dim
        assert q.dim[3] % 16 == 0
        assert q.dim[2] > 1
        self.built = True
        self.library.builds += 1

    def get_workspace_size(self):
        assert self.built
        return 64 * math.prod(self.inputs[0].dim[:3])

    def execute(self, addresses, workspace, handle):
        assert self.built
        assert handle is self.handle
        assert handle.stream == STREAM
        assert addresses.keys() == {tensor.uid for tensor in self.inputs + self.outputs}
        _check_alive(workspace, self.get_workspace_size())
        ctypes.memset(workspace, 0xFF, self.get_workspace_size())
        inputs, outputs = ([tensor.at(addresses[tensor.uid]) for tensor in tensors]
                           for tensors in (self.inputs, self.outputs))
        made = self.function(self.scale, self.causal, *(a.astype(np.float32) for a in inputs))
        for to, value in zip(outputs, made, strict=True):
            to[...] = value
        self.library.runs += 1


def _weights(scale, causal, q, k):
    """A = softmax(S), and log Σ e^S (…, 1)."""
    S = scale * (q @ k.swapaxes(-1, -2))
    if causal:
        S = np.where(np.tri(*S.shape[-2:], dtype=bool), S, -np.inf)
    highest = S.max(axis=-1, keepdims=True)
    stats = highest + np.log(np.exp(S - highest).sum(axis=-1, keepdims=True))
    return np.exp(S - stats), stats


def _forward(scale, causal, q, k, v, mask=1, raised=1):
    A, stats = _weights(scale, causal, q, k)
    return (A * mask * raised) @ v, stats


def _backward(scale, causal, q, k, v, o, dO, stats, mask=1, raised=1, lowered=1):
    assert np.allclose(raised * lowered, 1)
    A, expected = _weights(scale, causal, q, k)
    assert np.allclose(stats, expected, rtol=1e-5, atol=1e-5), "the statistics are not those of the forward pass"
    U = A * mask * raised
    assert np.allclose(o, U @ v, rtol=2e-2, atol=2e-2), "the result is not that of the forward pass"
    A_grad = (dO @ v.swapaxes(-1, -2)) * mask * raised
    S_grad = A * (A_grad - (A_grad * A).sum(axis=-1, keepdims=True))
    return scale * (S_grad @ k), scale * (S_grad.swapaxes(-1, -2) @ q), U.swapaxes(-1, -2) @ dO


class Library:
    """The package; ``refuses`` is why it declines every graph.

    Attributes:
        builds, runs: how many graphs were built, and executed.
    """

    data_type, heur_mode = data_type, heur_mode

    class cudnnGraphNotSupportedError(RuntimeError):
        pass

    def __init__(self, version=92800):
        self.version, self.builds, self.runs, self.refuses = version, 0, 0, ""

    def backend_version(self):
        return self.version

    def create_handle(self):
        return SimpleNamespace(stream=0)

    def set_stream(self, handle, stream):
        handle.stream = stream

    def pygraph(self, handle, **types):
        return Graph(self, handle, **types)
