"""A tensor in a file becomes the array that was written, with a copy only where one is needed."""

import ml_dtypes
import numpy as np
import pytest

from tinygrad_gpt.backend.blas import openblas
from tinygrad_gpt.checkpoints.mapped_tensor import StoredTensor, bfloat16_to_float32, float16_to_float32, load_all
from tinygrad_gpt.errors import CheckpointError

VALUES = np.array([[1.0, -2.5, 0.0], [3.25, 1024.0, -0.125]], np.float32)  # exact in all three dtypes
DTYPES = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype(ml_dtypes.bfloat16)}


def stored(folder, dtype, offset):
    path = folder / "tensor.bin"
    path.write_bytes(b"\xff" * offset + VALUES.astype(DTYPES[dtype]).tobytes())
    return StoredTensor(path, offset, dtype, VALUES.shape)


@pytest.mark.parametrize("offset", [0, 1, 2, 8])
@pytest.mark.parametrize("dtype", DTYPES)
def test_values_are_float32(dtype, offset, tmp_path):
    array = stored(tmp_path, dtype, offset).load()
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, VALUES)


def test_aligned_float32_is_the_file_itself_and_others_are_copies(tmp_path):
    tensor = stored(tmp_path, "F32", 8)
    assert isinstance(tensor.load().base, np.memmap)
    for dtype, offset in (("F32", 2), ("F16", 8), ("BF16", 8)):
        base = stored(tmp_path, dtype, offset).load().base
        assert not isinstance(base, np.memmap), (dtype, offset)


def test_a_change_of_the_array_does_not_reach_the_file(tmp_path):
    tensor = stored(tmp_path, "F32", 0)
    before = tensor.path.read_bytes()
    tensor.load()[...] = 7
    assert tensor.path.read_bytes() == before
    np.testing.assert_array_equal(tensor.load(), VALUES)


def test_tensors_of_one_file_lie_in_one_map_and_two_reads_share_nothing(tmp_path):
    whole = stored(tmp_path, "F32", 8)
    first, last = (StoredTensor(whole.path, offset, "F32", (2,)) for offset in (8, 24))
    one, other = load_all({"a": first, "b": last}), load_all({"a": first, "b": last})
    assert one["b"].ctypes.data - one["a"].ctypes.data == 16
    one["a"][...] = one["b"][...] = 7
    np.testing.assert_array_equal(other["a"], VALUES.reshape(-1)[:2])
    np.testing.assert_array_equal(other["b"], VALUES.reshape(-1)[4:])


@pytest.mark.parametrize("threads", [1, 2])
def test_copies_on_several_threads_have_the_values_and_the_order_of_the_tensors(threads, tmp_path):
    blas = openblas()
    if blas is None:
        pytest.skip("NumPy is without OpenBLAS, whose number of threads decides")
    tensors = {}
    for i, (dtype, offset) in enumerate([("F16", 0), ("F32", 8), ("F32", 2), ("BF16", 0)] * 5):
        (tmp_path / str(i)).mkdir()
        tensors[f"{7 * i % 20}"] = stored(tmp_path / str(i), dtype, offset)
    before = blas.threads()
    blas.set_threads(threads)
    try:
        loaded = load_all(tensors)
    finally:
        blas.set_threads(before)
    assert list(loaded) == list(tensors)
    for name, array in loaded.items():
        np.testing.assert_array_equal(array, VALUES)
        assert tensors[name].is_mapped == isinstance(array.base, np.memmap)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_file_that_ends_too_early_is_refused(dtype, tmp_path):
    tensor = stored(tmp_path, dtype, 0)
    tensor.path.write_bytes(tensor.path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="it ends too early; use another copy"):
        tensor.load()


def test_which_dtypes_weights_have(tmp_path):
    assert all(StoredTensor(tmp_path, 0, dtype, (1,)).is_float for dtype in DTYPES)
    assert not any(StoredTensor(tmp_path, 0, dtype, (1,)).is_float for dtype in ("F64", "I64", "BOOL"))


def test_every_bfloat16_keeps_its_value():
    bits = np.arange(1 << 16, dtype=np.uint16)
    expected = bits.view(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(bfloat16_to_float32(bits), expected)  # NaN equals NaN here


def test_every_float16_keeps_its_value():
    bits = np.arange(1 << 16, dtype=np.uint16)
    for halves in (bits.view(np.float16), bits[bits & 0x7C00 != 0x7C00].view(np.float16), np.empty(0, np.float16)):
        values = float16_to_float32(halves)
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, halves.astype(np.float32))  # NaN equals NaN here
        np.testing.assert_array_equal(np.signbit(values), np.signbit(halves))
