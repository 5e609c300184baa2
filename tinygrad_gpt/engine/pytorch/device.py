"""PyTorch's names of devices: "cpu" is the NumPy backend, "cuda" the CuPy backend."""

from dataclasses import dataclass

from tinygrad_gpt.backend import Backend, default_backend, get_backend
from tinygrad_gpt.errors import BackendError

__all__ = ["Device", "backend_on", "device"]

_BACKENDS = {"cpu": "numpy", "cuda": "cupy"}
_TYPES = {backend: kind for kind, backend in _BACKENDS.items()}


@dataclass(frozen=True)
class Device:
    """A place for tensors.

    Args:
        type: "cpu", "cuda" (the same as "cuda:0"), or the name of another registered backend.
        index: number of the GPU; only 0 is there.

    Raises:
        BackendError: "device 'cuda:1': …".
    """

    type: str
    index: int | None = None

    def __post_init__(self):
        kind, _, index = str(self.type).partition(":")
        if index not in ("", "0") or self.index not in (None, 0):
            raise BackendError(f"device '{self.type}': only the first GPU is used; set "
                               "CUDA_VISIBLE_DEVICES to choose it")
        object.__setattr__(self, "type", kind)
        object.__setattr__(self, "index", 0 if index else self.index)

    @classmethod
    def of(cls, backend: Backend) -> "Device":
        """The device that holds the arrays of a backend."""
        return cls(_TYPES.get(backend.name, backend.name))

    def __str__(self):
        return self.type if self.index is None else f"{self.type}:{self.index}"


device = Device  # under PyTorch's name


def backend_on(device: "Device | str | None") -> Backend:
    """The backend of a device; None is the default backend.

    Raises:
        BackendError: the device is unknown, or its package or GPU is absent.
    """
    if device is None:
        return default_backend()
    kind = (device if isinstance(device, Device) else Device(device)).type
    return get_backend(_BACKENDS.get(kind, kind))
