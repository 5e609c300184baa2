"""The dtypes under PyTorch's names. Each is a NumPy dtype, so that ``x.dtype == float32`` holds under either name."""

import numpy as np

from tinygrad_gpt.backend.precision import Precision
from tinygrad_gpt.errors import DTypeError

__all__ = ["DTYPES", "as_dtype", "finfo", "get_default_dtype", "iinfo"]

DTYPES = {
    "float16": np.dtype(np.float16), "float32": np.dtype(np.float32), "float64": np.dtype(np.float64),
    "half": np.dtype(np.float16), "float": np.dtype(np.float32), "double": np.dtype(np.float64),
    "int8": np.dtype(np.int8), "int16": np.dtype(np.int16), "int32": np.dtype(np.int32), "int64": np.dtype(np.int64),
    "short": np.dtype(np.int16), "int": np.dtype(np.int32), "long": np.dtype(np.int64),
    "uint8": np.dtype(np.uint8), "bool": np.dtype(np.bool_),
}


def as_dtype(dtype, where: str) -> np.dtype:
    """The NumPy dtype that ``dtype`` names: a NumPy dtype, or the name of one.

    Raises:
        DTypeError: "astype: data type 'float99' not understood".
        UsageError: bfloat16 is asked for, and `ml_dtypes` is not installed.
    """
    if dtype == "bfloat16":
        return Precision("bfloat16").dtype
    try:
        return np.dtype(dtype)
    except TypeError as error:
        raise DTypeError(f"{where}: {error}") from error


def finfo(dtype=np.float32) -> np.finfo:
    """The limits of a dtype of floats: ``eps``, ``max``, ``min``, ``tiny``."""
    return np.finfo(as_dtype(dtype, "finfo"))


def iinfo(dtype) -> np.iinfo:
    """The limits of a dtype of integers: ``max`` and ``min``."""
    return np.iinfo(as_dtype(dtype, "iinfo"))


def get_default_dtype() -> np.dtype:
    """The dtype of floats that come without one: float32."""
    return np.dtype(np.float32)


def __getattr__(name):
    if name == "bfloat16":  # needs a package that need not be installed
        return as_dtype(name, "bfloat16")
    if name in DTYPES:
        return DTYPES[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
