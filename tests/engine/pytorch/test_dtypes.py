"""Dtypes under PyTorch's names."""

import numpy as np
import pytest

import tinygrad_gpt
from tinygrad_gpt.engine.pytorch.dtypes import DTYPES, as_dtype
from tinygrad_gpt.errors import DTypeError


@pytest.mark.parametrize("name", DTYPES)
def test_each_name_is_public(name):
    assert getattr(tinygrad_gpt, name) is DTYPES[name] is as_dtype(DTYPES[name], "here")


def test_names_agree_with_pytorch():
    torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")
    for name, dtype in DTYPES.items():
        assert str(getattr(torch, name)).removeprefix("torch.") == dtype.name


def test_other_ways_to_name_a_dtype():
    assert as_dtype(float, "here") == as_dtype("double", "here") == np.float64
    assert as_dtype("bfloat16", "here") == tinygrad_gpt.bfloat16
    with pytest.raises(DTypeError, match="here: data type 'float99' not understood"):
        as_dtype("float99", "here")


def test_limits_of_dtypes():
    assert tinygrad_gpt.finfo(tinygrad_gpt.float32).eps == np.finfo(np.float32).eps
    assert tinygrad_gpt.iinfo("int8").max == 127
    assert tinygrad_gpt.get_default_dtype() == np.float32
