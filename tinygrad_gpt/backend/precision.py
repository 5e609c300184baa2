"""In which precision a model computes: one policy, in force for a block of code.

    name       arrays of layers   products
    float32    float32            float32
    tf32       float32            of factors rounded to 10 bits of mantissa, as tensor cores do it
    bfloat16   bfloat16           of bfloat16, summed in float32
    float16    float16            of float16, summed in float32; the loss is scaled, see `train/loss_scale.py`

Whatever the policy, weights, gradients of weights, optimiser, residual stream, layer norm, softmax, loss and all sums
are float32. A layer converts its inputs with the op `astype` on the way in and its result on the way out.

    >>> with precision("bfloat16"):
    ...     model.loss(ids, targets).backward()
"""

import contextlib
import contextvars
from dataclasses import dataclass

import numpy as np

from tinygrad_gpt.errors import UsageError

__all__ = ["POLICIES", "Precision", "check_precision", "current_precision", "is_half", "precision", "wide"]


@dataclass(frozen=True)
class Precision:
    """A policy.

    Args:
        name: what the user types after ``--precision``.
        tf32: whether a product of float32 arrays may round its factors to TF32.
    """

    name: str
    tf32: bool = False

    @property
    def dtype(self) -> np.dtype:
        """Of the arrays that layers compute on.

        Raises:
            UsageError: "precision is 'bfloat16' (ml_dtypes): it is not installed; …".
        """
        if self.name != "bfloat16":
            return np.dtype(np.float16 if self.name == "float16" else np.float32)
        try:
            import ml_dtypes
        except ImportError as error:
            raise UsageError("precision is 'bfloat16' (ml_dtypes): it is not installed; "
                             "pip install ml_dtypes") from error
        return np.dtype(ml_dtypes.bfloat16)


POLICIES = {policy.name: policy for policy in (
    Precision("float32"), Precision("tf32", tf32=True), Precision("bfloat16"), Precision("float16"))}
_policy = contextvars.ContextVar("precision", default=POLICIES["float32"])  # each thread has its own


def current_precision() -> Precision:
    """The policy in force in this thread."""
    return _policy.get()


def check_precision(name: str) -> None:
    """Refuse a policy that does not exist, or that the GPU of the default backend or cuDNN lacks.

    Raises:
        UsageError: "precision is 'int8'; choose one of float32, tf32, bfloat16, float16"; for a GPU see
            `Card.check_precision`, for cuDNN `check_attention`.
    """
    from tinygrad_gpt.backend.cudnn import check_attention  # both import this module
    from tinygrad_gpt.backend.loading import default_backend

    if name not in POLICIES:
        raise UsageError(f"precision is {name!r}; choose one of {', '.join(POLICIES)}")
    if card := default_backend().card():
        card.check_precision(name)
    check_attention(name)


@contextlib.contextmanager
def precision(name: str):
    """The policy of that name in this block, forward and backward, in this thread; raises as `check_precision`."""
    check_precision(name)
    token = _policy.set(POLICIES[name])
    try:
        yield
    finally:
        _policy.reset(token)


def is_half(dtype) -> bool:
    """True for float16 and bfloat16."""
    return dtype.itemsize == 2 and dtype.kind not in "biu"


def wide(dtype):
    """The dtype in which sums over arrays of ``dtype`` are made: float32 for the halves, else the same."""
    return np.dtype(np.float32) if is_half(dtype) else dtype
