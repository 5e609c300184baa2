"""Layer normalisation, in place."""

import math

from tinygrad_gpt.engine import fast
from tinygrad_gpt.ops.fast.matmul import row_means, sum_rows

__all__ = ["layer_norm"]


@fast("layer_norm")
def layer_norm(xp, x, weight, bias, *, eps=1e-5):
    """Op 'layer_norm', with means and sums over rows as matrix products."""
    shape = x.shape
    flat = math.prod(shape[:-1]), shape[-1]  # (N, C)
    x = x.reshape(flat)
    x_hat = x - row_means(xp, x)
    y = x_hat * x_hat
    rstd = 1 / xp.sqrt(row_means(xp, y) + eps)  # (N, 1)
    x_hat *= rstd
    xp.multiply(x_hat, weight, out=y)
    y += bias

    def grad_x(g):
        d = g.reshape(flat) * weight
        along = d * x_hat
        xp.multiply(x_hat, row_means(xp, along), out=along)
        d -= row_means(xp, d)
        d -= along
        d *= rstd
        return d.reshape(shape)

    def grad_weight(g):
        return sum_rows(xp, g.reshape(flat) * x_hat)

    def grad_bias(g):
        return sum_rows(xp, g.reshape(flat))

    return y.reshape(shape), (grad_x, grad_weight, grad_bias)
