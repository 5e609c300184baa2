"""Matrix products of few rows on the host, in pieces that BLAS computes without copying all of the second matrix.

BLAS copies both matrices into the order of its kernels. With few rows that takes longer than the product. It copies
nothing in a product with a vector, in which case all depends on the memory, and in the small products for which
OpenBLAS has kernels of its own on processors with AVX-512. Which pieces are taken is a function of shapes, layout, the
kernels and the number of threads, never of a measurement, so that results are repeatable
(docs/fast.md has the figures).
"""

import numpy as np

from tinygrad_gpt.backend.blas import openblas

__all__ = ["FEW", "TINY", "few_rows"]

FEW = 64  # rows; from there on the copy counts little
TINY = 4096  # numbers of the second matrix, at most, that take less time than to choose how to multiply them
BY_ROW = 3, 4  # rows that are multiplied one at a time, at most, with memory along the rows of b, or its columns
IN_TILES = 16  # rows of products in tiles, at most
PIECE = 1024  # columns that are computed at once: the next row finds them in the cache
SMALL = 1_000_000  # multiplications of a product that has a kernel of its own, at most
SMALL_RESULT = 1024  # numbers of its result, at most, if the memory of the second matrix runs along its columns
INNER = 384, 768  # rows of a tile, likewise
WITH_SMALL_KERNELS = "SkylakeX", "Cooperlake", "Sapphirerapids"


def few_rows(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, k) times (k, m), float32, with n from 2 to `FEW`: (n, m), in C order."""
    n, along_columns = len(a), b.flags.f_contiguous and not b.flags.c_contiguous
    big = n * b.size > SMALL
    if big and n <= IN_TILES and _small_kernels():
        return _in_tiles(a, b, along_columns)
    if big and n <= BY_ROW[along_columns]:
        return _by_row(a, b)
    return _transposed(a, b) if along_columns and n > max(BY_ROW) else np.matmul(a, b)


def _in_tiles(a, b, along_columns):
    """Tiles of b that are small products: those of one column of tiles are added up."""
    n, (k, m) = len(a), b.shape
    inner = INNER[along_columns]
    width = SMALL_RESULT // n if along_columns else SMALL // (n * inner) // 64 * 64
    y = np.empty((n, m), a.dtype)
    for j in range(0, m, width):
        columns = b[:, j:j + width]
        parts = [_product(a[:, i:i + inner], columns[i:i + inner], along_columns) for i in range(0, k, inner)]
        total = parts[0]
        for part in parts[1:]:
            total += part
        y[:, j:j + width] = total
    return y


def _product(a, b, transposed):
    return np.matmul(b.T, a.T).T if transposed else np.matmul(a, b)


def _by_row(a, b):
    """Each row of a times a piece of b, then the next piece."""
    y = np.empty((len(a), b.shape[1]), a.dtype)
    for j in range(0, b.shape[1], PIECE):
        columns = b[:, j:j + PIECE]
        for row, result in zip(a, y, strict=True):
            np.matmul(row, columns, out=result[j:j + PIECE])
    return y


def _transposed(a, b):
    """(bᵀ aᵀ)ᵀ, piece by piece: the long side of b is then that which BLAS divides best."""
    y = np.empty((len(a), b.shape[1]), a.dtype)
    for j in range(0, b.shape[1], PIECE):
        y[:, j:j + PIECE] = np.matmul(b[:, j:j + PIECE].T, a.T).T
    return y


def _small_kernels() -> bool:
    """Whether BLAS has kernels for small products, and one thread, of which they make use."""
    blas = openblas()
    return blas is not None and blas.core in WITH_SMALL_KERNELS and blas.threads() == 1
