"""Devices under PyTorch's names."""

import pytest

from tinygrad_gpt.backend import get_backend
from tinygrad_gpt.engine.pytorch.device import Device, backend_on, device
from tinygrad_gpt.errors import BackendError


def test_names_of_backends(backend):
    assert backend_on(None) is backend
    assert backend_on("cpu") is backend_on(device("cpu")) is get_backend("numpy")
    assert Device.of(get_backend("numpy")) == device("cpu")
    assert backend_on(Device.of(backend)) is backend
    assert device("cuda:0").type == device("cuda", 0).type == "cuda"
    assert str(device("cuda:0")) == "cuda:0"


def test_what_is_not_there_is_refused():
    with pytest.raises(BackendError, match="device 'cuda:1': only the first GPU is used"):
        device("cuda:1")
    with pytest.raises(BackendError, match="backend 'mps': unknown; choose one of auto, numpy, cupy"):
        backend_on("mps")
