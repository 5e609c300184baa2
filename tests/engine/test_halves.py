"""Every op on float16 and bfloat16 arrays: what float32 gives, rounded."""

import ml_dtypes
import numpy as np
import pytest
from checks import Call, cast, error, is_float, samples

from tinygrad_gpt import OPS, Tensor, ops
from tinygrad_gpt.engine.guards import saved_arrays
from tinygrad_gpt.engine.mode import composed_ops
from tinygrad_gpt.engine.pending import sum_to

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
HALVES = {"float16": (np.dtype(np.float16), 2**-11), "bfloat16": (BFLOAT16, 2**-8)}  # and the error of a rounding


@pytest.mark.kernels
@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("name", OPS)
def test_an_op_on_halves_is_the_op_in_float32_rounded(name, half, backend):
    op, (dtype, rounding) = OPS[name], HALVES[half]
    roundings = 8 if backend.launch and "attention" in name else 2.01  # tensor cores take rounded weights and scores
    for arguments, settings in samples(op):
        halves = [cast(a, dtype) for a in arguments]
        ours = Call(op, halves, settings, backend=backend.name)
        expected = Call(op, [cast(a, np.float32) if is_float(a) else a for a in halves], settings, backend=backend.name,
                        cotangent=backend.to_numpy(ours.cotangent).astype(np.float32))
        if "dtype" not in settings:  # astype
            reduced = ours.result.ndim == 0 and ours.arrays[0].ndim and not (op.fast or op.plain).takes_halves
            assert ours.result.dtype == (np.float32 if reduced else dtype)
        for grad, array in zip(ours.grads, ours.arrays, strict=True):
            assert grad is None or grad.dtype == array.dtype
        for a, b in zip(ours.values(), expected.values(), strict=True):
            assert error(a.astype(np.float32), b) <= roundings * rounding


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("name", [name for name, op in OPS.items() if op.composed])
def test_a_fused_op_on_halves_is_near_its_composed_form(name, half):
    op, (dtype, rounding) = OPS[name], HALVES[half]
    for arguments, settings in samples(op):
        halves = [cast(a, dtype) for a in arguments]
        fused = Call(op, halves, settings)
        with composed_ops():
            composed = Call(op, halves, settings, cotangent=fused.cotangent.astype(dtype))
        for a, b in zip(fused.values(), composed.values(), strict=True):
            assert error(a.astype(np.float32), b.astype(np.float32)) <= 16 * rounding  # one for each op of the chain


@pytest.mark.kernels
def test_broadcasting_is_undone_in_float32(backend):
    g = backend.from_numpy(np.ones((4096, 2), BFLOAT16))
    summed = sum_to(g, (2,))
    assert summed.dtype == BFLOAT16
    assert backend.to_numpy(summed).tolist() == [4096, 4096]  # in halves it would end at 256
    assert backend.to_numpy(sum_to(g, (1, 2))).tolist() == [[4096, 4096]]


@pytest.mark.kernels
def test_an_element_taken_often_gets_the_sum_of_its_gradients(backend):
    x = Tensor(backend.from_numpy(np.ones(3, BFLOAT16)), requires_grad=True)
    x[backend.from_numpy(np.zeros(600, int))].backward(backend.from_numpy(np.ones(600, BFLOAT16)))
    assert x.grad.numpy().tolist() == [600, 0, 0]


@pytest.mark.kernels
def test_a_scalar_stays_in_float32_and_so_does_what_is_made_of_it(backend):
    x = Tensor(backend.from_numpy(np.full(1000, 1.003, np.float16)), requires_grad=True)
    loss = x.mean() * 3.0
    assert loss.dtype == np.float32
    assert abs(loss.item() - 3 * float(np.float16(1.003))) < 1e-5
    loss.backward()
    assert x.grad.dtype == np.float16
    assert np.array_equal(x.grad.numpy(), np.full(1000, 0.003, np.float16))


@pytest.mark.kernels
def test_the_gradient_of_a_cast_comes_back_in_the_dtype_of_the_argument(backend):
    weight = Tensor(backend.from_numpy(np.ones((2, 3), np.float32)), requires_grad=True)
    half = weight.astype(BFLOAT16)
    (half * half).sum().backward()
    (weight.astype(np.float16) * 3.0).sum().backward()  # accumulates onto float32
    assert weight.grad.dtype == np.float32
    assert np.array_equal(weight.grad.numpy(), np.full((2, 3), 5))


def test_what_an_op_saves_of_halves_is_named_as_ever():
    x = Tensor(np.ones((2, 3), BFLOAT16), requires_grad=True)
    assert set(saved_arrays(ops.gelu(x).node.pullbacks)) == {"slope"}
