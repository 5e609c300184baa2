"""Loops over rows, compiled by numba: one pass over memory where NumPy takes one for each operator.

A kernel works on C-ordered float32 or float64 arrays, most of them (N, C), and writes into arrays that are given. It is
compiled when it is first called with a dtype, and kept in a cache on the disk (`NUMBA_CACHE_DIR`). Kernels run on one
core: see docs/decisions/0025-compiled-loops.md.
"""

import math

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

from tinygrad_gpt.ops.activation import CUBIC, SQRT_2_OVER_PI
from tinygrad_gpt.ops.fast.activation import ERF_END, ERF_P, ERF_Q

__all__ = ["adamw", "bias_gelu", "dropout", "gelu_exact", "keep_mask", "layer_norm", "layer_norm_grads",
           "softmax", "softmax_grad", "softmax_minus_target"]

# Sums may be taken in another order, so that a vector register holds several at a time; NaN and ∞ stay what they are.
ANY_ORDER = {"reassoc", "contract", "nsz", "arcp"}
kernel = njit(cache=True, fastmath=ANY_ORDER, error_model="numpy")
LOG2_E, LN_2_HIGH, LN_2_LOW = 1.4426950408889634, 0.693359375, -2.12194440e-4
# e^r = 1 + r + r² P(r) for |r| ≤ ln 2 / 2, the highest power first: Cephes, expf.c (S. Moshier).
EXP_P = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
LEAST = float(np.finfo(np.float32).min)
LANES = 64  # numbers that a vectorised loop takes at a time; what is left over it takes one by one
SLOPE_2 = 2 * SQRT_2_OVER_PI  # of 2 u(x) = 2 √(2/π) (x + 0.044715 x³), whose sigmoid is (1 + tanh u) / 2


@intrinsic
def _float_of_bits(context, bits):
    """The float32 that an int32 is in memory."""
    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


def _exp(x):
    """eˣ; in float32 as a polynomial, because a call of the C library's keeps a loop from being vectorised."""
    return math.exp(x)


@overload(_exp, jit_options={"fastmath": {"contract"}})
def _exp_of_type(x):
    if x != types.float32:
        return lambda x: math.exp(x)

    def in_float32(x):
        tiny = x < np.float32(-87.3)
        x = min(max(x, np.float32(-87.3)), np.float32(88.7))
        n = np.floor(x * np.float32(LOG2_E) + np.float32(0.5))
        r = x - n * np.float32(LN_2_HIGH) - n * np.float32(LN_2_LOW)
        p = np.float32(EXP_P[0])
        for c in EXP_P[1:]:
            p = p * r + np.float32(c)
        p = p * r * r + r + np.float32(1)
        return np.float32(0) if tiny else p * _float_of_bits(np.int32(np.int32(n) + np.int32(127)) << np.int32(23))  # type: ignore[call-arg]

    return in_float32


@kernel
def _largest(row):
    """max of a row (C,), 0 of an empty one; eight at a time, because LLVM leaves a loop over one maximum as it is."""
    if not len(row):
        return row.dtype.type(0)
    a = b = c = d = e = f = g = h = row[0]
    whole = len(row) // 8 * 8
    for i in range(0, whole, 8):
        x = row[i:i + 8]
        a, b, c, d = max(a, x[0]), max(b, x[1]), max(c, x[2]), max(d, x[3])
        e, f, g, h = max(e, x[4]), max(f, x[5]), max(g, x[6]), max(h, x[7])
    for i in range(whole, len(row)):
        a = max(a, row[i])
    return max(max(max(a, b), max(c, d)), max(max(e, f), max(g, h)))


@kernel
def _exponentials(row, top):
    """Turn a row (C,) into e^(row − top); return the sum."""
    total = row.dtype.type(0)
    for i in range(len(row)):
        row[i] = _exp(row[i] - top)
        total += row[i]
    return total


@kernel
def _times(row, factor):
    for i in range(len(row)):
        row[i] *= factor


@kernel
def _gelu_row(x, bias, y, slope):
    one, two_u, six_u = x.dtype.type(1), x.dtype.type(SLOPE_2), x.dtype.type(SLOPE_2 * CUBIC)
    for i in range(len(x)):
        z = x[i] + bias[i]
        square = z * z
        h = one / (one + _exp(-z * (two_u + six_u * square)))  # (1 + tanh u) / 2
        y[i] = z * h
        slope[i] = h + h * (one - h) * z * (two_u + x.dtype.type(3) * six_u * square)


@kernel
def bias_gelu(x, bias, y, slope):
    """y = gelu(x + bias) and slope = gelu′(x + bias), of x (N, C) and bias (C,)."""
    for i in range(len(x)):
        _gelu_row(x[i], bias, y[i], slope[i])


def _erf(x):
    """The error function, in float32 the quotient of two polynomials of `ops/fast/activation.py`."""
    return math.erf(x)


@overload(_erf, jit_options={"fastmath": {"contract"}})
def _erf_of_type(x):
    if x != types.float32:
        return lambda x: math.erf(x)

    def in_float32(x):
        x = min(max(x, np.float32(-ERF_END)), np.float32(ERF_END))
        square = x * x
        p, q = np.float32(ERF_P[0]), np.float32(ERF_Q[0])
        for c in ERF_P[1:]:
            p = p * square + np.float32(c)
        for c in ERF_Q[1:]:
            q = q * square + np.float32(c)
        return x * p / q

    return in_float32


@kernel
def gelu_exact(x, y, slope):
    """y = x Φ(x) and slope = Φ(x) + x φ(x), of x (N,)."""
    half, one = x.dtype.type(0.5), x.dtype.type(1)
    root, density = x.dtype.type(math.sqrt(0.5)), x.dtype.type(1 / math.sqrt(2 * math.pi))
    for i in range(len(x)):
        cdf = half * (one + _erf(x[i] * root))
        y[i] = x[i] * cdf
        slope[i] = cdf + x[i] * density * _exp(-half * x[i] * x[i])


@kernel
def _normalised(x, weight, bias, eps, x_hat, y):
    """A row of `layer_norm`; returns 1 / σ."""
    size, total = x.dtype.type(len(x)), x.dtype.type(0)
    for i in range(len(x)):
        total += x[i]
    mean = total / size
    total = x.dtype.type(0)
    for i in range(len(x)):
        total += (x[i] - mean) * (x[i] - mean)
    rstd = x.dtype.type(1) / np.sqrt(total / size + eps)
    for i in range(len(x)):
        x_hat[i] = (x[i] - mean) * rstd
        y[i] = x_hat[i] * weight[i] + bias[i]
    return rstd


@kernel
def layer_norm(x, weight, bias, eps, x_hat, y, rstd):
    """x̂ = (x − mean) · rstd, y = x̂ · weight + bias and rstd (N,), of x (N, C)."""
    for i in range(len(x)):
        rstd[i] = _normalised(x[i], weight, bias, eps, x_hat[i], y[i])


@kernel
def _normalised_grads(g, x_hat, weight, rstd, grad_x, grad_weight, grad_bias):
    size, mean, along = g.dtype.type(len(g)), g.dtype.type(0), g.dtype.type(0)
    for i in range(len(g)):
        d = g[i] * weight[i]
        mean += d
        along += d * x_hat[i]
    mean /= size
    along /= size
    for i in range(len(g)):
        grad_x[i] = (g[i] * weight[i] - mean - x_hat[i] * along) * rstd
        grad_weight[i] += g[i] * x_hat[i]
        grad_bias[i] += g[i]


@kernel
def layer_norm_grads(g, x_hat, weight, rstd, grad_x, grad_weight, grad_bias):
    """The gradients of `layer_norm`: that of x is written, those of weight and bias (C,) are added to zeros."""
    for i in range(len(g)):
        _normalised_grads(g[i], x_hat[i], weight, rstd[i], grad_x[i], grad_weight, grad_bias)


@kernel
def softmax(scores, visible, causal, row_max, row_sum):
    """Turn scores (B, H, n, m) into e^(scores − row_max), 0 where a query does not see a key.

    Args:
        visible: bool (B, H, n, m), keys that exist; None: all.
        causal: the last query sees all keys, the one before it all but the last, and so on.
        row_max, row_sum: (B, H, n, 1), written. Of a query that sees no key the sum is 0.
    """
    batch, n_head, n, m = scores.shape
    for text in range(batch):
        for head in range(n_head):
            for i in range(n):
                seen = min(m, max(0, m - n + 1 + i)) if causal else m
                row = scores[text, head, i, :min(m, -(-seen // LANES) * LANES)]
                row[seen:] = -np.inf
                if visible is not None:
                    for j in range(seen):
                        if not visible[text, head, i, j]:
                            row[j] = -np.inf
                top = max(_largest(row), row.dtype.type(LEAST))  # no ∞ − ∞
                row_max[text, head, i, 0] = top
                row_sum[text, head, i, 0] = _exponentials(row, top)
                scores[text, head, i, len(row):] = 0


@kernel
def _through_softmax(grad, e, total):
    along = grad.dtype.type(0)
    for i in range(len(grad)):
        along += grad[i] * e[i]
    along /= total
    for i in range(len(grad)):
        grad[i] = (grad[i] - along) * e[i]


@kernel
def softmax_grad(grad, e, row_sum):
    """Turn the gradient of the weights e / row_sum (B, H, n, m), times row_sum, into that of the scores."""
    for text in range(grad.shape[0]):
        for head in range(grad.shape[1]):
            for i in range(grad.shape[2]):
                _through_softmax(grad[text, head, i], e[text, head, i], row_sum[text, head, i, 0])


@kernel
def dropout(x, keep, scale, y):
    """y = x · keep · scale, of x and keep (B, H, n, m)."""
    for text in range(x.shape[0]):
        for head in range(x.shape[1]):
            for i in range(x.shape[2]):
                for j in range(x.shape[3]):
                    y[text, head, i, j] = x[text, head, i, j] * scale if keep[text, head, i, j] else 0


@kernel
def softmax_minus_target(logits, targets, share, losses):
    """Turn logits (N, V) into share · (softmax − [v = target]), and write −ln p of the targets into losses (N,)."""
    for i in range(len(logits)):
        row = logits[i]
        top = _largest(row)
        shifted = row[targets[i]] - top
        total = _exponentials(row, top)
        losses[i] = np.log(total) - shifted
        _times(row, share[i] / total)
        row[targets[i]] -= share[i]


@kernel
def keep_mask(keep, start, first, second, least):
    """keep[i] = hash(start + i) ≥ least, as in `ops/dropout.py`; first and second are its keys, all are uint32."""
    for i in range(len(keep)):
        bits = np.uint32(start + np.uint32(i)) ^ first
        bits = np.uint32((bits ^ (bits >> np.uint32(16))) * np.uint32(0x21F0AAAD)) ^ second
        bits = np.uint32((bits ^ (bits >> np.uint32(15))) * np.uint32(0xD35A2D97))
        keep[i] = bits ^ (bits >> np.uint32(15)) >= least


@kernel
def adamw(p, g, m, v, rates):
    """One step of AdamW on arrays (N,); rates is β₁, β₂, 1 − lr λ, and the rate and ε of `optim/adamw.py`."""
    beta1, beta2, keep, rate, eps = rates
    rest1, rest2 = p.dtype.type(1) - beta1, p.dtype.type(1) - beta2
    for i in range(len(p)):
        m[i] += rest1 * (g[i] - m[i])
        v[i] = beta2 * v[i] + rest2 * g[i] * g[i]
        p[i] = keep * p[i] - rate * m[i] / (np.sqrt(v[i]) + eps)
