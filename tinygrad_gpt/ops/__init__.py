"""Every op, and with it every derivative, of GPT-2. Importing this fills the registry `OPS`."""

from tinygrad_gpt.engine.mode import loaders
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.ops.activation import bias_gelu, gelu, gelu_exact, relu, sigmoid
from tinygrad_gpt.ops.attention import attention, self_attention
from tinygrad_gpt.ops.dropout import dropout, keep_mask
from tinygrad_gpt.ops.einsum import einsum
from tinygrad_gpt.ops.elementwise import (
    abs_,
    add,
    astype,
    div,
    erf,
    exp,
    log,
    maximum,
    mul,
    neg,
    pow_,
    sqrt,
    sub,
    tanh,
    where,
)
from tinygrad_gpt.ops.embedding import embedding
from tinygrad_gpt.ops.functions import cos, cumsum, expm1, log1p, norm, sin
from tinygrad_gpt.ops.linear_cross_entropy import linear_cross_entropy
from tinygrad_gpt.ops.matmul import linear, matmul
from tinygrad_gpt.ops.normalize import layer_norm
from tinygrad_gpt.ops.reduce import logsumexp, max_, mean, sum_
from tinygrad_gpt.ops.shape import broadcast_to, concat, permute, reshape, scatter, slice_, stack, transpose
from tinygrad_gpt.ops.softmax import cross_entropy, log_softmax, softmax

# Imported last: they register other forms of the ops above.
from tinygrad_gpt.ops import composed, cuda, fast  # isort: skip  # noqa: F401

__all__ = [
    "abs_", "add", "astype", "attention", "bias_gelu", "broadcast_to", "concat", "cos", "cross_entropy", "cumsum",
    "div", "dropout", "einsum", "embedding", "erf", "exp", "expm1", "gelu", "gelu_exact", "keep_mask", "layer_norm",
    "linear", "linear_cross_entropy", "log", "log1p", "log_softmax", "logsumexp", "matmul", "max_", "maximum", "mean",
    "mul", "neg", "norm", "permute", "pow_", "relu", "reshape", "scatter", "self_attention", "sigmoid", "sin", "slice_",
    "softmax", "sqrt", "stack", "sub", "sum_", "tanh", "transpose", "where",
]


def load_compiled() -> None:
    """Register the compiled forms, for which numba is imported.

    Raises:
        UsageError: "ops 'compiled' (numba): it is not installed; …".
    """
    try:
        from tinygrad_gpt.ops import compiled  # noqa: F401
    except ImportError as error:  # also of a numba that does not fit this NumPy
        why = "it is not installed" if isinstance(error, ModuleNotFoundError) else str(error)
        raise UsageError(f"ops 'compiled' (numba): {why}; install it with `pip install 'tinygrad-gpt[compiled]'`, or "
                         "use --ops fast") from error


loaders["compiled"] = load_compiled
