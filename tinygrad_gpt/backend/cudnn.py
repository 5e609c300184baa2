"""cuDNN's attention beside this project's kernels: which of the two is in force, and why the library cannot be used."""

import contextlib
import contextvars
import functools
import importlib
from typing import Any

from tinygrad_gpt.backend.loading import default_backend
from tinygrad_gpt.errors import BackendError, UsageError

__all__ = ["ATTENTIONS", "attention", "check_attention", "current_attention", "load_cudnn"]

ATTENTIONS = ("own", "cudnn", "auto")
HALVES = ("bfloat16", "float16")
AMPERE = 80  # the oldest cards that cuDNN computes attention on
OLDEST = 91800  # 9.18, the first whose backward pass is repeatable on all cards
EXTRA = "pip install 'tinygrad-gpt[cudnn]' and nvidia-cudnn-cu12, or -cu13"
_attention = contextvars.ContextVar("attention", default="own")  # each thread has its own

current_attention = _attention.get  # returns the choice in force in this thread: "own" or "cudnn"


@contextlib.contextmanager
def attention(name: str):
    """Attention of halves by one of `ATTENTIONS` in this block, in this thread, on the default backend.

    Args:
        name: "own": the kernels of `ops/cuda/`; "cudnn": the library where it can, see `ops/cuda/cudnn_attention.py`;
            "auto": "own", until the library is measured to be faster on a GPU.

    Raises:
        UsageError: "attention is 'flash'; choose one of own, cudnn, auto", or the backend runs on no GPU, or
            on one before Ampere.
        BackendError: "attention 'cudnn': nvidia-cudnn-frontend is not installed; …".
    """
    if name not in ATTENTIONS:
        raise UsageError(f"attention is {name!r}; choose one of {', '.join(ATTENTIONS)}")
    if name == "cudnn":
        backend = default_backend()
        if backend.launch is None:
            raise UsageError(f"attention is 'cudnn' (backend {backend.name}): cuDNN runs on an NVIDIA GPU; choose "
                             "--backend cupy, or --attention own")
        if (card := backend.card()) and card.capability < AMPERE:
            raise UsageError(f"attention is 'cudnn' (GPU of compute capability {card.capability / 10}): cuDNN's needs "
                             "8.0, which is Ampere, or newer; use --attention own")
        load_cudnn()
    token = _attention.set("cudnn" if name == "cudnn" else "own")
    try:
        yield
    finally:
        _attention.reset(token)


def check_attention(precision: str) -> None:
    """Refuse a precision in which cuDNN computes no attention, where it is in force.

    Raises:
        UsageError: "attention is 'cudnn' (precision float32): …".
    """
    if current_attention() == "cudnn" and precision not in HALVES:
        raise UsageError(f"attention is 'cudnn' (precision {precision}): cuDNN's attention is for half precision; "
                         f"choose --precision {' or '.join(HALVES)}, or --attention own")


@functools.cache
def load_cudnn() -> Any:
    """NVIDIA's package `cudnn`.

    Raises:
        BackendError: it, or the library that it calls, is missing or too old.
    """
    try:
        cudnn = importlib.import_module("cudnn")
        version = int(cudnn.backend_version())
    except ModuleNotFoundError as error:
        missing = "nvidia-cudnn-frontend" if error.name == "cudnn" else error.name
        raise BackendError(f"attention 'cudnn': {missing} is not installed; {EXTRA}; or use --attention own") from error
    except Exception as error:  # without the library: "Unable to find symbol cudnnGetVersion"
        said = " ".join(str(error).split())[:60]
        raise BackendError(f"attention 'cudnn': cuDNN cannot be used ({said}); {EXTRA}; or use --attention own"
                           ) from error
    if version < OLDEST:
        found, needed = (f"{each // 10000}.{each // 100 % 100}" for each in (version, OLDEST))
        raise BackendError(f"attention 'cudnn': cuDNN is {found}, {needed} or newer is needed; "
                           "pip install -U nvidia-cudnn-cu12, or -cu13; or use --attention own")
    return cudnn
