"""What a Tensor becomes: Python numbers, NumPy arrays, other dtypes and devices."""

import numpy as np
import pytest

from tinygrad_gpt.engine import Tensor, no_grad
from tinygrad_gpt.errors import BackendError, DTypeError, ShapeError, TapeError


def test_a_scalar_is_a_number():
    loss, n = Tensor(1.5), Tensor(3)
    assert f"{loss:.3f}" == "1.500"
    assert f"{loss}" == "1.5"
    assert f"{n:04d}" == "0003"
    assert (int(loss), int(n), float(n), complex(loss), round(loss), round(Tensor(1.26), 1)) == (1, 3, 3.0, 1.5, 2, 1.3)
    assert list(range(n)) == [0, 1, 2]
    assert [10, 20, 30, 40][n] == 40
    with pytest.raises(TypeError, match=r"only one integer can be an index, not a tensor \(\) of float32"):
        range(loss)
    with pytest.raises(TypeError, match="unsupported format string"):
        f"{Tensor([1.0, 2.0]):.2f}"
    with pytest.raises(ShapeError, match=r"bool: the tensor has shape \(2,\), not one value; use any\(\) or all\(\)"):
        bool(Tensor([1.0, 2.0]))
    assert [x.item() for x in reversed(Tensor([1.0, 2.0]))] == [2.0, 1.0]


def test_numpy_sees_an_array(backend):
    x = Tensor([[1.0, 2.0]], requires_grad=True)
    assert np.asarray(x).dtype == np.float32
    assert np.array(x, dtype=np.float64).tolist() == [[1.0, 2.0]]
    assert not np.shares_memory(np.array(x), np.asarray(x))
    np.testing.assert_allclose(x, [[1.0, 2.0]])
    assert Tensor([Tensor(1.0), Tensor(2.0)]).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(("function", "factor"), [(np.exp, np.e), (np.negative, -1.0), (np.square, None)])
def test_numpys_functions_are_ops_or_are_refused(function, factor):
    x = Tensor(np.array([1.0]), requires_grad=True)
    if factor is None:
        with pytest.raises(TapeError, match=r"numpy\.square: the tape does not record NumPy's functions; use an op"):
            function(x)
        with no_grad():
            assert function(x).tolist() == [1.0]
        assert isinstance(function(x.detach()), Tensor)
    else:
        function(x).sum().backward()
        assert np.allclose(x.grad, factor)


def test_arrays_beside_tensors():
    array, x = np.array([1.0, 2.0]), Tensor(np.array([3.0, 2.0]), requires_grad=True)
    assert (array == x).tolist() == [False, True]
    assert (array < x).tolist() == [True, False]
    (array * x + array - x / array).sum().backward()
    assert x.grad.tolist() == [0.0, 1.5]
    assert np.mean(array == x) == 0.5
    assert np.concatenate([x.detach(), array]).tolist() == [3.0, 2.0, 1.0, 2.0]
    assert (7.5 % x).tolist() == [1.5, 1.5]
    with pytest.raises(TapeError, match=r"numpy\.concatenate: the tape"):
        np.concatenate([x, array])
    array -= 0.5 * x.detach()
    assert array.tolist() == [-0.5, 1.0]


def test_matplotlib_draws_a_tensor():
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed")
    figure, axes = pyplot.subplots()
    (line,) = axes.plot(Tensor([0.0, 1.0, 2.0]), Tensor([1.0, 4.0, 9.0], requires_grad=True))
    assert line.get_ydata().tolist() == [1.0, 4.0, 9.0]
    assert axes.hist(Tensor([1.0, 1.0, 2.0]), bins=2)[0].tolist() == [2.0, 1.0]
    assert axes.imshow(Tensor([[1.0, 2.0]])).get_array().tolist() == [[1.0, 2.0]]
    pyplot.close(figure)


@pytest.mark.parametrize(("name", "dtype"), [("float", "float32"), ("double", "float64"), ("half", "float16"),
                                             ("long", "int64"), ("int", "int32"), ("short", "int16"), ("bool", "bool"),
                                             ("bfloat16", "bfloat16")])
def test_dtypes_by_their_names(name, dtype, backend):
    x = Tensor([0.0, 1.5], requires_grad=True)
    assert str(getattr(x, name)().dtype) == str(x.to(name).dtype) == dtype
    assert x.float() is x.to(np.float32) is x.to("cpu" if backend.name == "numpy" else x.device) is x
    assert x.type(np.float64).dtype == x.type_as(x.double()).dtype == np.float64
    x.double().sum().backward()
    assert x.grad.dtype == np.float32


def test_devices(backend):
    x = Tensor([1.0])
    assert isinstance(x.cpu().data, np.ndarray)
    assert x.to(x.device) is x
    assert x.to(Tensor([1], backend="numpy")).dtype == np.int64
    with pytest.raises(BackendError, match=r"backend 'cupy': .*--backend numpy"):
        Tensor([1.0], backend="numpy").cuda()


def test_a_clone_is_a_copy_on_the_tape(backend):
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = x.clone()
    assert y.requires_grad
    (y * 2.0).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]
    assert not np.shares_memory(x.detach().clone().numpy(), x.numpy())
    assert Tensor([1, 2]).clone().tolist() == [1, 2]
    assert x.reshape(2, 1).T.contiguous().is_contiguous()


def test_sizes_in_both_ways(backend):
    x = Tensor(np.zeros((2, 3)))
    assert x.size == x.numel() == x.nelement() == 6
    assert x.size() == (2, 3)
    assert (x.size(0), x.size(-1), x.dim(), x.ndimension(), x.element_size()) == (2, 3, 2, 2, 8)
    with pytest.raises(ShapeError, match=r"size: axis 2 is out of bounds, the tensor is \(2, 3\)"):
        x.size(2)
    assert Tensor(1.0).size() == ()


def test_new_tensors_alike(backend):
    x = Tensor(np.zeros(2))
    assert x.new_zeros(2, 3).dtype == np.float64
    assert x.new_ones((1, 2)).tolist() == [[1.0, 1.0]]
    assert x.new_full((2,), 7).tolist() == [7.0, 7.0]
    assert x.new_tensor([[1, 2]]).tolist() == [[1.0, 2.0]]
    assert x.is_floating_point()
    with pytest.raises(DTypeError, match="astype: data type 'float99' not understood"):
        x.astype("float99")
