"""What programs ask about GPUs, under PyTorch's names: `cuda.is_available()`, `backends.mps.is_available()`."""

from types import SimpleNamespace

from tinygrad_gpt.engine.pytorch.device import backend_on
from tinygrad_gpt.errors import BackendError

__all__ = ["backends", "cuda"]


def _cuda_is_available() -> bool:
    """Whether CuPy and a GPU are here."""
    try:
        backend_on("cuda")
    except BackendError:
        return False
    return True


cuda = SimpleNamespace(is_available=_cuda_is_available, device_count=lambda: int(_cuda_is_available()))
backends = SimpleNamespace(mps=SimpleNamespace(is_available=lambda: False))
