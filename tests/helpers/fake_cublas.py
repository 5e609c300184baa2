"""cuBLAS as NVIDIA documents it, computed by NumPy on addresses of host memory, column by column.

`cuda` is what of CuPy's module of that name a product needs, with a GPU of the compute capability that `card` sets;
`calls` are the newest calls, their arguments by name.
"""

import contextlib
import ctypes
from collections import deque
from types import SimpleNamespace

import ml_dtypes
import numpy as np

from tinygrad_gpt.backend.numpy import tf32

CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_64F, CUBLAS_COMPUTE_32F_FAST_TF32, CUBLAS_GEMM_DEFAULT = 68, 70, 77, -1
DTYPES = {2: np.float16, 14: ml_dtypes.bfloat16, 0: np.float32, 1: np.float64}  # by the numbers of cudaDataType
SUMS = {CUBLAS_COMPUTE_32F: np.float32, CUBLAS_COMPUTE_32F_FAST_TF32: np.float32, CUBLAS_COMPUTE_64F: np.float64}
HANDLE = 4711
CUBLAS_DEFAULT_MATH, DISALLOW_REDUCED_PRECISION_REDUCTION = 0, 16
cuda = SimpleNamespace(
    runtime=SimpleNamespace(CUDA_R_16F=2, CUDA_R_16BF=14, CUDA_R_32F=0, CUDA_R_64F=1),
    device=SimpleNamespace(get_cublas_handle=lambda: HANDLE),
    Device=lambda: SimpleNamespace(compute_capability=str(capability)))
calls: deque[dict] = deque(maxlen=100)
made = 0  # calls, of all times
capability = 90
math_mode = CUBLAS_DEFAULT_MATH


@contextlib.contextmanager
def card(of_capability):
    """In this block the GPU is another one: 75 is one of compute capability 7.5."""
    global capability
    before, capability = capability, of_capability
    try:
        yield
    finally:
        capability = before


def setMathMode(handle, mode):
    global math_mode
    assert handle == HANDLE
    math_mode = mode


def _matrix(address, dtype, rows, columns, leading):
    """The matrix (rows, columns) at an address, its columns ``leading`` elements apart."""
    assert leading >= max(1, rows)
    dtype = np.dtype(dtype)
    memory = (ctypes.c_byte * (dtype.itemsize * (leading * (columns - 1) + rows))).from_address(address)
    return np.lib.stride_tricks.as_strided(np.frombuffer(memory, np.uint8).view(dtype), (rows, columns),
                                           (dtype.itemsize, dtype.itemsize * leading))


def gemmStridedBatchedEx(handle, transa, transb, m, n, k, alpha, A, Atype, lda, strideA, B, Btype, ldb, strideB,
                         beta, C, Ctype, ldc, strideC, batchCount, computeType, algo):
    """C[i] ← α op(A[i]) op(B[i]) + β C[i], of which α = 1 and β = 0 or 1 are asked for."""
    global made
    made += 1
    calls.append(dict(locals()))
    sums = SUMS[computeType]
    scalar = ctypes.c_double if sums == np.float64 else ctypes.c_float
    assert scalar.from_address(alpha).value == 1
    assert scalar.from_address(beta).value in (0, 1)
    assert (handle, algo) == (HANDLE, CUBLAS_GEMM_DEFAULT)
    for i in range(batchCount):
        a, b, c = (address + i * stride * np.dtype(DTYPES[kind]).itemsize for address, stride, kind in
                   ((A, strideA, Atype), (B, strideB, Btype), (C, strideC, Ctype)))
        a = _matrix(a, DTYPES[Atype], *((k, m) if transa else (m, k)), lda)
        b = _matrix(b, DTYPES[Btype], *((n, k) if transb else (k, n)), ldb)
        c = _matrix(c, DTYPES[Ctype], m, n, ldc)
        a, b = (matrix.T if flag else matrix for matrix, flag in ((a, transa), (b, transb)))
        if computeType == CUBLAS_COMPUTE_32F_FAST_TF32:
            a, b = tf32(a), tf32(b)
        a, b = a.T.astype(sums, copy=False), b.T.astype(sums, copy=False)
        before = c.T.astype(sums) if scalar.from_address(beta).value else 0
        if np.dtype(c.dtype).itemsize == 2 and not math_mode & DISALLOW_REDUCED_PRECISION_REDUCTION:
            half = k // 2  # a sum may be split, and its parts added in the type of the result
            c.T[...] = (before + b[:, :half] @ a[:half]).astype(c.dtype) + (b[:, half:] @ a[half:]).astype(c.dtype)
        else:
            c.T[...] = (before + b @ a).astype(c.dtype)


def gemmEx(handle, transa, transb, m, n, k, alpha, A, Atype, lda, B, Btype, ldb, beta, C, Ctype, ldc, computeType,
           algo):
    gemmStridedBatchedEx(handle, transa, transb, m, n, k, alpha, A, Atype, lda, 0, B, Btype, ldb, 0, beta, C, Ctype,
                         ldc, 0, 1, computeType, algo)
