"""Arguments of ops by position and by name, under NumPy's names and PyTorch's."""

import inspect

import numpy as np
import pytest

from tinygrad_gpt import Tensor, ops
from tinygrad_gpt.engine.binding import axis_of
from tinygrad_gpt.errors import DTypeError

X = Tensor(np.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize("call", [
    lambda: ops.sum_(X, axis=1, keepdims=True), lambda: ops.sum_(X, 1, True), lambda: ops.sum_(X, dim=1, keepdim=True),
    lambda: ops.sum_(X, 1, keepdim=True), lambda: ops.sum_(X, dim=[1], keepdims=True), lambda: ops.sum_(input=X, dim=1,
                                                                                                       keepdim=True),
    lambda: ops.sum_(X, axis=np.int64(1), keepdims=np.True_), lambda: ops.sum_(dim=1, x=X, keepdim=True),
])
def test_settings_by_position_and_by_either_name(call):
    assert call().tolist() == [[3.0], [12.0]]


@pytest.mark.parametrize("call", [
    lambda: ops.concat(X, X, axis=1), lambda: ops.concat([X, X], dim=1), lambda: ops.concat((X, X), 1),
    lambda: ops.concat([X, X], axis=-1),
])
def test_arrays_in_a_list_or_one_by_one(call):
    assert call().shape == (2, 6)
    assert ops.stack([X, X], 1).shape == ops.stack(X, X, dim=1).shape == (2, 2, 3)
    assert ops.concat([X]).shape == (2, 3)
    assert ops.concat([1.0], [2.0]).tolist() == [1.0, 2.0], "two arrays given as lists"


def test_arrays_by_name():
    weight, bias = Tensor(np.ones((3, 2))), Tensor(np.ones(2))
    expected = ops.linear(X, weight, bias).tolist()
    assert ops.linear(X, weight, bias=bias).tolist() == ops.linear(bias=bias, weight=weight, x=X).tolist() == expected
    targets = np.array([0, 2])
    assert ops.cross_entropy(X, target=targets).item() == ops.cross_entropy(X, targets).item()
    weighted = ops.cross_entropy(X, targets, weight=np.array([1.0, 2.0, 3.0]))
    assert weighted.item() == ops.cross_entropy(X, targets, np.array([1.0, 2.0, 3.0])).item()


@pytest.mark.parametrize(("call", "text"), [
    (lambda: ops.sum_(X, axes=1), r"op 'sum': it has no argument 'axes'; it takes \(x, axis=None, keepdims=False\)"),
    (lambda: ops.sum_(X, 1, dim=1), "op 'sum': 'axis' is given twice"),
    (lambda: ops.sum_(X, dim=1, axis=1), "op 'sum': 'axis' is given twice"),
    (lambda: ops.sum_(X, x=X), "op 'sum': 'x' is given twice"),
    (lambda: ops.sum_(X, 0, True, 3), r"op 'sum': 4 arguments are too many; it takes \(x, axis"),
    (lambda: ops.linear(X, bias=X), r"op 'linear': argument 'weight' is missing; it takes \(x, weight, bias=None\)"),
    (lambda: ops.concat(X, X, arrays=X), r"op 'concat': it has no argument 'arrays'; it takes \(\*arrays, axis=0\)"),
])
def test_refusals(call, text):
    with pytest.raises(DTypeError, match=text):
        call()


def test_signatures_show_what_a_caller_writes():
    assert str(inspect.signature(ops.softmax)) == "(x, axis=-1)"
    assert str(inspect.signature(ops.linear)) == "(x, weight, bias=None)"
    assert str(inspect.signature(ops.concat)) == "(*arrays, axis=0)"
    assert all("xp" not in inspect.signature(getattr(ops, name)).parameters for name in ops.__all__
               if name != "keep_mask")


def test_a_later_change_of_a_setting_is_not_seen():
    ids = np.array([0, 2])
    x = Tensor(np.ones(3), requires_grad=True)
    y = ops.slice_(x, index=ids)
    ids[:] = 1
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 0.0, 1.0]


def test_axis_of():
    assert axis_of(None, None) is None
    assert axis_of(1, None) == axis_of(None, 1) == 1
    assert axis_of([0, 1], None) == (0, 1)
    assert axis_of((), None) is None, "no axis means all axes"
    assert axis_of(None, ()) == (), "in NumPy no axis means none"


def test_where_takes_pytorch_s_names():
    condition, a, b = np.array([True, False]), np.float32([1, 2]), np.float32([3, 4])
    assert ops.where(condition=condition, input=a, other=b).tolist() == [1.0, 4.0]
    assert ops.add(input=a, other=b).tolist() == [4.0, 6.0]
