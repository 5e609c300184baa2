"""Matrix products: matmul and linear."""

import math

from tinygrad_gpt.engine import op
from tinygrad_gpt.errors import ShapeError

__all__ = ["linear", "matmul"]


def _check_product(a, b):
    if not a.ndim or not b.ndim:
        raise ShapeError(f"op 'matmul': each argument needs at least one axis (a is {a.shape}, b is {b.shape})")
    if a.shape[-1] != b.shape[-min(2, b.ndim)]:
        raise ShapeError(f"op 'matmul': last axis of a is {a.shape[-1]} (a is {a.shape}) but b expects "
                         f"{b.shape[-min(2, b.ndim)]} (b is {b.shape})")


@op(samples=lambda r: [(r.normal(2, 3), r.normal(3, 4)), (r.normal(2, 2, 3), r.normal(2, 3, 2)),
                       (r.normal(2, 1, 2, 3), r.normal(3, 3, 2)), (r.normal(3), r.normal(3)),
                       (r.normal(2, 3), r.normal(3)), (r.normal(3), r.normal(2, 3, 4)),
                       (r.normal(2, 2, 3), r.normal(3))],
    errors=lambda r: [((r.normal(2, 3), r.normal(4, 2)), "last axis of a is 3 (a is (2, 3)) but b expects 4"),
                      ((r.normal(), r.normal(2)), "needs at least one axis")],
    check=_check_product, broadcasts=True)
def matmul(xp, a, b):
    """Matrix product over the last two axes; the others are batch and broadcast. One axis is a vector.

    Forward:  y = a b
    Gradient: ā = ȳ bᵀ,  b̄ = aᵀ ȳ
    Shapes:   a (..., n, k), b (..., k, m) -> y (..., n, m)
    Saves:    a, b
    Source:   Giles 2008, "Collected matrix derivative results", section 2.2
    """
    a_shape, b_shape = a.shape, b.shape
    a = a.reshape((1, *a_shape)) if a.ndim == 1 else a  # a row (1, k)
    b = b.reshape((*b_shape, 1)) if b.ndim == 1 else b  # a column (k, 1)
    y = a @ b
    matrix_shape = y.shape
    n, m = matrix_shape[-2:-1] if len(a_shape) > 1 else (), matrix_shape[-1:] if len(b_shape) > 1 else ()

    def grad_a(g):
        return g.reshape(matrix_shape) @ b.swapaxes(-1, -2)  # y = a b

    def grad_b(g):
        grad = a.swapaxes(-1, -2) @ g.reshape(matrix_shape)  # y = a b
        return grad if len(b_shape) > 1 else grad.reshape(grad.shape[:-1])  # b = a column (k, 1), if a vector

    return y.reshape((*matrix_shape[:-2], *n, *m)), (grad_a, grad_b)


def _check_layer(x, weight, bias=None):
    if weight.ndim != 2:
        raise ShapeError(f"op 'linear': weight is {weight.shape}, expected (n_in, n_out)")
    if x.shape[-1:] != weight.shape[:1]:
        raise ShapeError(f"op 'linear': last axis of x is {x.shape[-1] if x.ndim else 'missing'} (x is {x.shape}) "
                         f"but weight expects {weight.shape[0]} (weight is {weight.shape})")
    if bias is not None and bias.shape != weight.shape[1:]:
        raise ShapeError(f"op 'linear': bias is {bias.shape} but weight gives {weight.shape[1]} "
                         f"(weight is {weight.shape})")


@op(samples=lambda r: [(r.normal(2, 3), r.normal(3, 4), r.normal(4)), (r.normal(2, 2, 3), r.normal(3, 4)),
                       (r.normal(3), r.normal(3, 2), r.normal(2))],
    errors=lambda r: [((r.normal(2, 5, 6), r.normal(4, 3)),
                       "op 'linear': last axis of x is 6 (x is (2, 5, 6)) but weight expects 4 (weight is (4, 3))"),
                      ((r.normal(2, 4), r.normal(4, 3), r.normal(4)), "bias is (4,) but weight gives 3")],
    check=_check_layer)
def linear(xp, x, weight, bias=None):
    """Affine map of the last axis.

    Forward:  y = x W + b
    Gradient: x̄ = ȳ Wᵀ,  W̄ = xᵀ ȳ,  b̄ = Σ ȳ
    Shapes:   x (..., n_in), weight (n_in, n_out), bias (n_out) or None -> y (..., n_out)
    Saves:    x, weight
    Source:   Giles 2008, section 2.2; the layout (n_in, n_out) is GPT-2's
    """
    n_in, n_out = weight.shape
    rows = tuple(range(x.ndim - 1))
    n = math.prod(x.shape[:-1])

    def grad_x(g):
        return g @ weight.T  # y = x W + b

    def grad_weight(g):
        return x.reshape(n, n_in).T @ g.reshape(n, n_out)  # y = x W + b

    def grad_bias(g):
        return g.sum(axis=rows)  # y = x W + b

    y = x @ weight
    return y if bias is None else y + bias, (grad_x, grad_weight, grad_bias)
