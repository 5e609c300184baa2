"""What programs ask about GPUs."""

import tinygrad_gpt as torch
from tinygrad_gpt.engine.pytorch import accelerators
from tinygrad_gpt.errors import BackendError


def test_a_gpu_is_there_where_its_backend_is(monkeypatch):
    monkeypatch.setattr(accelerators, "backend_on", lambda device: None)
    assert torch.cuda.is_available()
    assert torch.cuda.device_count() == 1


def test_no_gpu_is_there_where_its_backend_fails(monkeypatch):
    def fails(device):
        raise BackendError("backend 'cupy': not installed")

    monkeypatch.setattr(accelerators, "backend_on", fails)
    assert not torch.cuda.is_available()
    assert torch.cuda.device_count() == 0


def test_there_is_no_mps():
    assert not torch.backends.mps.is_available()
