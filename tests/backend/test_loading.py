"""Backends by name, by the type of arrays, and as a thread's default."""


import threading

import numpy as np
import pytest
import strict

from tinygrad_gpt import ops
from tinygrad_gpt.backend import (
    Backend,
    backend_of,
    default_backend,
    get_backend,
    loading,
    on_backend,
    register_backend,
    use_backend,
)
from tinygrad_gpt.engine import Tensor
from tinygrad_gpt.errors import BackendError


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(BackendError, match=r"backend 'tpu': unknown; choose one of auto, numpy, cupy, strict"):
        get_backend("tpu")


def test_arrays_find_their_backend(backend):
    array = backend.from_numpy(np.ones(3, np.float32))
    assert backend_of(array) is backend
    assert backend_of(array[:0]) is backend
    assert backend_of(np.float32(1.0)).name == "numpy"
    with pytest.raises(BackendError, match=r"list: not an array of a loaded backend \(numpy.*\); wrap it in a Tensor"):
        backend_of([1.0])


def test_subclasses_of_arrays_belong_to_their_backend(tmp_path):
    mapped = np.memmap(tmp_path / "array", np.float32, "w+", shape=(3,))
    assert backend_of(mapped).name == "numpy"
    assert ops.exp(Tensor(mapped)).tolist() == [1.0, 1.0, 1.0]


def test_mixed_backends_name_op_argument_and_remedy():
    here, there = Tensor([1.0, 2.0], backend="numpy"), Tensor([1.0, 2.0], backend="strict")
    with pytest.raises(BackendError, match="op 'mul': 'b' is on strict but 'a' is on numpy; make both with the same "
                                           "backend"):
        here * there
    with pytest.raises(BackendError, match="op 'linear': 'weight' is on numpy but 'x' is on strict"):
        ops.linear(there, Tensor([[1.0], [1.0]], backend="numpy"))
    with pytest.raises(BackendError, match="op 'concat': 'arrays\\[2\\]' is on strict"):
        ops.concat(here, here, there)
    with pytest.raises(BackendError, match="op 'where': 'a' is on strict but 'condition' is on numpy"):
        ops.where(np.array([True, False]), there, 0.0)
    with pytest.raises(BackendError, match="op 'add': 'b' is on strict but 'a' is on numpy"):
        here + there.data


def test_the_default_backend_is_local_to_the_thread():
    seen = []
    use_backend("strict")
    try:
        assert Tensor([1.0]).data.__class__ is strict.Array
        thread = threading.Thread(target=lambda: seen.append(default_backend().name))
        thread.start()
        thread.join()
    finally:
        use_backend("numpy")
    assert seen == ["numpy"]


def test_a_backend_for_a_block():
    with on_backend("strict") as inside:
        assert default_backend() is inside
        with on_backend(None) as same:
            assert same is inside
        with pytest.raises(BackendError), on_backend("tpu"):
            pytest.fail("there is no such backend")
        assert default_backend() is inside
    assert default_backend().name == "numpy"


def test_a_backend_is_loaded_once_and_when_asked_for():
    calls = []

    class Array(np.ndarray):
        pass

    def load():
        calls.append(1)
        numpy = get_backend("numpy")
        return Backend("late", np, Array, *(getattr(numpy, f) for f in (
            "from_numpy", "to_numpy", "index_add", "bmm", "erf", "synchronize", "memory", "on_host")))

    register_backend("late", load)
    try:
        assert calls == []
        assert get_backend("late") is get_backend("late")
        assert calls == [1]
    finally:
        for table in (loading._loaders, loading._loaded):
            table.pop("late", None)
        loading._by_type.pop(Array, None)
