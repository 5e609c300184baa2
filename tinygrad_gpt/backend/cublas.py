"""Matrix products on a GPU, by cuBLAS, in every precision.

They multiply as tensor cores do: factors of half precision exactly, TF32 where the policy allows it, sums in float32,
and one rounding at the end. `numpy_product` does the same on the host, so that a run there shows what a precision does
to a model, only slowly.
"""

import functools
import itertools
from collections.abc import Callable

import numpy as np

from tinygrad_gpt.backend.cards import card_of
from tinygrad_gpt.backend.precision import current_precision

__all__ = ["cublas_product"]

# CUBLAS_MATH_…, which CuPy does not name. Without it the parts of a long sum may be added in half precision.
DISALLOW_REDUCED_PRECISION_REDUCTION = 16


def cublas_product(xp, cublas) -> Callable:
    """A function like `numpy_product` for arrays on a GPU, which copies no operand that is transposed or broadcast.

    With ``out`` the product is written there, rounded to its dtype; with ``add`` it is added to what is there. The
    numbers of a row of ``out`` lie side by side, and no array is empty.

    Args:
        xp: the array package, with its module ``cuda``.
        cublas: its bindings of cuBLAS: gemmEx, gemmStridedBatchedEx, setMathMode and their constants.

    Source: NVIDIA, cuBLAS library, cublasGemmEx, cublasGemmStridedBatchedEx and cublasMath_t.
    """
    types = _types(xp, cublas)

    def product(a, b, out=None, add=False):
        if a.dtype.kind in "biu":
            return xp.matmul(a, b)
        (n, k), m = a.shape[-2:], b.shape[-1]
        batch = () if a.ndim == b.ndim == 2 else np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        if not (a.size and b.size):
            return xp.zeros((*batch, n, m), dtype=a.dtype)
        y = xp.empty((*batch, n, m), dtype=a.dtype) if out is None else out
        capability = xp.cuda.Device().compute_capability
        kind, sums, one, zero = types(a.dtype, current_precision().tf32, capability)
        kind_y, beta = types(y.dtype, False, capability)[0], one if add else zero
        leading_y = max(m, y.strides[-2] // y.itemsize)
        # cuBLAS reads an array column by column, which makes of a C-ordered one its transpose: it computes yᵀ = bᵀ aᵀ.
        a, flag_a, leading_a = _as_columns(xp, a)
        b, flag_b, leading_b = _as_columns(xp, b)
        handle = xp.cuda.device.get_cublas_handle()  # of this thread
        cublas.setMathMode(handle, cublas.CUBLAS_DEFAULT_MATH | DISALLOW_REDUCED_PRECISION_REDUCTION)
        head = handle, flag_b, flag_a, m, n, k, one
        end = sums, cublas.CUBLAS_GEMM_DEFAULT
        for count, (at_b, at_a, at_y), (step_b, step_a, step_y) in _calls(batch, b, a, y):
            if count == 1:
                cublas.gemmEx(*head, at_b, kind, leading_b, at_a, kind, leading_a, beta, at_y, kind_y, leading_y, *end)
            else:
                cublas.gemmStridedBatchedEx(*head, at_b, kind, leading_b, step_b, at_a, kind, leading_a, step_a, beta,
                                            at_y, kind_y, leading_y, step_y, count, *end)
        return y

    return product


def _types(xp, cublas):
    factors = {size: (np.array(1, f"f{size}"), np.array(0, f"f{size}")) for size in (4, 8)}
    # alpha and beta of cuBLAS: y = alpha · a b + beta · y

    @functools.cache
    def types(dtype, tf32, capability):
        """Names for cuBLAS: of the arrays' type, of that of the sums, and where 1 and 0 of the latter stand."""
        runtime, name, double = xp.cuda.runtime, dtype.name, dtype.itemsize == 8
        if card := card_of(int(capability)):
            card.check_precision("tf32" if tf32 and name == "float32" else name)
        kind = {"float16": runtime.CUDA_R_16F, "bfloat16": runtime.CUDA_R_16BF, "float32": runtime.CUDA_R_32F,
                "float64": runtime.CUDA_R_64F}[name]
        rounded = cublas.CUBLAS_COMPUTE_32F_FAST_TF32 if tf32 and name == "float32" else cublas.CUBLAS_COMPUTE_32F
        one, zero = factors[8 if double else 4]
        return kind, cublas.CUBLAS_COMPUTE_64F if double else rounded, one.ctypes.data, zero.ctypes.data

    return types


def _as_columns(xp, a):
    """The array, 0 (N) or 1 (T), and leading dimension with which cuBLAS reads aᵀ; a copy if no axis is contiguous."""
    rows, columns = a.shape[-2:]
    by_row, by_column = (stride // a.itemsize for stride in a.strides[-2:])
    if (by_column == 1 or columns == 1) and (by_row >= columns or rows == 1):
        return a, 0, max(by_row, columns)
    if (by_row == 1 or rows == 1) and (by_column >= rows or columns == 1):
        return a, 1, max(by_column, rows)
    return xp.ascontiguousarray(a), 0, columns


def _calls(batch, *arrays):
    """For each call of cuBLAS: number of matrices, address of the first in each array, steps from one to the next."""
    if not batch:
        yield 1, [a.data.ptr for a in arrays], (0, 0, 0)
        return
    steps = [_steps(array, len(batch)) for array in arrays]
    *outer, (count, *inner) = _joined(batch, *steps) or [(1, 0, 0, 0)]
    for place in itertools.product(*(range(size) for size, *_ in outer)):
        offsets = [sum(i * axis[j] for i, axis in zip(place, outer, strict=True)) for j in range(1, 1 + len(arrays))]
        yield count, [a.data.ptr + a.itemsize * offset for a, offset in zip(arrays, offsets, strict=True)], inner


def _steps(array, n_axes):
    """Elements from one matrix to the next along ``n_axes`` batch axes, 0 along one that is broadcast."""
    strides = zip(array.shape[:-2], array.strides[:-2], strict=True)
    steps = [0 if size == 1 else stride // array.itemsize for size, stride in strides]
    return [0] * (n_axes - len(steps)) + steps


def _joined(batch, *steps):
    """Batch axes (size, step of each array), neighbours made one where all arrays step evenly through both."""
    axes: list[tuple[int, ...]] = []
    for size, *inner in zip(batch, *steps, strict=True):
        if axes and all(outer == step * size for outer, step in zip(axes[-1][1:], inner, strict=True)):
            axes[-1] = axes[-1][0] * size, *inner
        elif size > 1:
            axes.append((size, *inner))
    return axes
