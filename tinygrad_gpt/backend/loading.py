"""Which backend: by its name, by the type of arrays, and the default of a thread."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tinygrad_gpt.backend import numpy
from tinygrad_gpt.backend.record import Array, Backend
from tinygrad_gpt.errors import BackendError

__all__ = ["backend_of", "backend_of_type", "default_backend", "get_backend", "on_backend", "register_backend",
           "to_host", "use_backend"]


def _load_cupy():
    from tinygrad_gpt.backend import cupy

    return cupy.load()


_loaders: dict[str, Callable[[], Backend]] = {"numpy": numpy.load, "cupy": _load_cupy}
_loaded: dict[str, Backend] = {}
_by_type: dict[type, Backend] = {}
backend_of_type: Callable[[Any], Backend | None] = _by_type.get  # None for a type of which no array was met yet


def register_backend(name: str, loader: Callable[[], Backend]) -> None:
    """Make ``get_backend(name)`` call ``loader`` the first time it is asked for."""
    _loaders[name] = loader


def get_backend(name: str) -> Backend:
    """The backend of that name, ``auto`` being CuPy where it works and NumPy elsewhere.

    Raises:
        BackendError: the name is unknown, or its package or device is absent.
    """
    if name == "auto":
        try:
            return get_backend("cupy")
        except BackendError:
            return get_backend("numpy")
    if name not in _loaded:
        if name not in _loaders:
            raise BackendError(f"backend {name!r}: unknown; choose one of {', '.join(['auto', *_loaders])}")
        backend = _loaders[name]()
        _loaded[name] = _by_type[backend.array_type] = backend
    return _loaded[name]


def backend_of(array: Array) -> Backend:
    """The backend whose arrays ``array`` is one of.

    Raises:
        BackendError: no loaded backend knows this type.
    """
    backend = _by_type.get(type(array))
    if backend is None:
        if isinstance(array, np.generic):  # what NumPy's arithmetic makes of 0-d arrays
            return get_backend("numpy")
        backend = next((known for known in _loaded.values() if isinstance(array, known.array_type)), None)
        if backend is None:
            raise BackendError(f"{type(array).__name__}: not an array of a loaded backend ({', '.join(_loaded)}); "
                               "wrap it in a Tensor")
        _by_type[type(array)] = backend
    return backend


_NUMPY = get_backend("numpy")
_default = contextvars.ContextVar("default_backend", default=_NUMPY)


def to_host(array: Array) -> np.ndarray:
    """An array of any backend as one of NumPy's; on the NumPy backend the very memory."""
    return backend_of(array).to_numpy(array)


def default_backend() -> Backend:
    """The backend on which Tensors are made from lists and NumPy arrays."""
    return _default.get()


def use_backend(name: str) -> Backend:
    """Make ``name`` the default backend of this thread and return it."""
    backend = get_backend(name)
    _default.set(backend)
    return backend


@contextlib.contextmanager
def on_backend(name: str | None) -> Iterator[Backend]:
    """Make ``name`` the default backend of this thread while the block lasts; None leaves it as it is."""
    token = _default.set(default_backend() if name is None else get_backend(name))
    try:
        yield default_backend()
    finally:
        _default.reset(token)
