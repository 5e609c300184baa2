"""What no program can undercut: the matrix products of the same work alone, the same weights read once.

They run in NumPy, on the arrays' real sizes and random values. The products of attention are left out: how many there
are depends on how it is cut into pieces.
"""

from collections.abc import Callable, Sequence

import numpy as np

Product = tuple[int, int, int, bool]  # rows, n_in, n_out of a linear layer, and are there gradients?


def block_products(rows: int, width: int, trained: bool) -> list[Product]:
    """The linear layers of a transformer block."""
    return [(rows, width, 3 * width, trained), (rows, width, width, trained),
            (rows, width, 4 * width, trained), (rows, 4 * width, width, trained)]


def model_products(rows: int, *, n_layer: int, n_embd: int, vocab_size: int, trained: bool) -> list[Product]:
    """Those of a whole language model, its head included."""
    return block_products(rows, n_embd, trained) * n_layer + [(rows, n_embd, vocab_size, trained)]


def products_block(products: Sequence[Product], steps: int = 1) -> Callable[[], int]:
    """A block that computes them, into memory that is there already."""
    generator = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return generator.standard_normal(shape, np.float32)

    arrays = {}  # layers of one size share them, but not their weights, which must come from memory as in a model
    for rows, n_in, n_out, _ in products:
        if (rows, n_in, n_out) not in arrays:
            arrays[rows, n_in, n_out] = [*(normal(rows, n) for n in (n_in, n_out)),
                                         *(np.empty(shape, np.float32)
                                           for shape in ((rows, n_out), (rows, n_in), (n_in, n_out)))]
    weights = [normal(n_in, n_out) for _, n_in, n_out, _ in products]

    def block() -> int:
        for _ in range(steps):
            for (rows, n_in, n_out, trained), weight in zip(products, weights, strict=True):
                x, grad_y, y, grad_x, grad_weight = arrays[rows, n_in, n_out]
                np.matmul(x, weight, out=y)
                if trained:
                    np.matmul(grad_y, weight.T, out=grad_x)
                    np.matmul(x.T, grad_y, out=grad_weight)
        return steps

    return block
