"""Named methods of a Tensor: what PyTorch gives for the same call."""

import numpy as np
import pytest

from tinygrad_gpt import Tensor, ops
from tinygrad_gpt.errors import ShapeError


def counted(*shape):
    """0, 1, 2, … in a shape, as a Tensor."""
    return Tensor(np.arange(float(np.prod(shape))).reshape(shape))


@pytest.mark.parametrize(("i", "j"), [(0, 1), (-2, -1), (1, 0), (1, 1), (-3, 2)])
def test_transpose_exchanges_two_axes(i, j):
    for shape in ((2, 2, 2), (2, 3, 4)):
        x = counted(*shape)
        for y in (x.transpose(i, j), x.swapaxes(i, j), x.swapdims(i, j), ops.transpose(x, i, j),
                  ops.transpose(x.data, i, j)):
            assert np.array_equal(y.numpy(), x.numpy().swapaxes(i, j))


def test_transpose_of_a_matrix_changes_it():
    k = counted(2, 2)
    for y in (k.transpose(0, 1), k.transpose(-2, -1), k.T, k.mT):
        assert y.tolist() == [[0, 2], [1, 3]]


def test_orders_of_all_axes():
    x = counted(2, 3, 4)
    for y in (x.permute(2, 0, -2), x.permute((2, 0, 1)), x.permute([2, 0, 1]), ops.permute(x, dims=(2, 0, 1)),
              x.transpose((2, 0, 1))):
        assert np.array_equal(y.numpy(), x.numpy().transpose(2, 0, 1))
    assert x.T.shape == (4, 3, 2)
    assert x.mT.shape == (2, 4, 3)


@pytest.mark.parametrize("dims", [(0, 2, 1, 3), (1,), (), (1, None), ([0, 1],)])
def test_transpose_names_permute_where_it_cannot_be_meant(dims):
    with pytest.raises(ShapeError, match=r"transpose: exchanges two axes, got .*permute.*\.T"):
        counted(2, 3, 4, 5).transpose(*dims)


def test_axes_out_of_bounds():
    with pytest.raises(ShapeError, match=r"transpose: axis 2 is out of bounds, the tensor is \(2, 3\)"):
        counted(2, 3).transpose(0, 2)
    with pytest.raises(ShapeError, match="mT: needs two axes or more"):
        _ = counted(3).mT
